// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"errors"
	"fmt"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/present"
)

// subjectMark begins the name that is a person's subject at the provider, such as sub:248289761001.
// So it is nobody's address, whatever the provider makes subjects of.
const subjectMark = "sub:"

// emailClaim is the claim that counts only where it is verified.
const emailClaim = "email"

// person reads the claims. The person goes by the verified address, the subject, and the
// claim that NameClaim names; of these, patterns match the address alone.
func (o *OIDC) person(id *oidc.IDToken) (pipeline.Person, error) {
	var claims map[string]any
	if err := id.Claims(&claims); err != nil {
		return pipeline.Person{}, err
	}
	text := func(name string) string {
		s, _ := claims[name].(string)
		return strings.TrimSpace(s)
	}
	sub := subjectMark + id.Subject
	who := pipeline.Person{Name: sub, Names: []string{sub}, Literal: []string{sub}, Groups: groups(claims[o.GroupsClaim])}
	address := ""
	if isTrue(claims["email_verified"]) && pipeline.IsAddress(text(emailClaim)) {
		address = canonical(text(emailClaim))
		who.Name, who.Names = address, append(who.Names, address)
	}
	switch {
	case id.Subject == "":
		return who, errors.New("the provider does not say your subject")
	case o.NameClaim == emailClaim && address == "":
		return who, fmt.Errorf("the provider does not say that your address %q is verified", text(emailClaim))
	case o.NameClaim == "sub":
		who.Name = sub
	case o.NameClaim != "" && o.NameClaim != emailClaim:
		name := canonical(text(o.NameClaim))
		if name == "" || strings.HasPrefix(name, subjectMark) {
			return who, fmt.Errorf("the provider does not say your name as %s", o.NameClaim)
		}
		if who.Name = name; name != address {
			who.Literal = append(who.Literal, name)
		}
	}
	for _, name := range append([]string{who.Name}, who.Names...) {
		if present.Line(name) != name {
			return who, fmt.Errorf("the provider says your name with control characters: %q", name)
		}
	}
	return who, nil
}

// isTrue reports whether a claim says true. Some providers say it as text.
func isTrue(claim any) bool {
	text, _ := claim.(string)
	return claim == true || strings.EqualFold(text, "true")
}

// groups reads a list of names; some providers say a single one as text.
func groups(claim any) (names []string) {
	list, many := claim.([]any)
	if !many {
		list = []any{claim}
	}
	for _, g := range list {
		if group, ok := g.(string); ok && group != "" {
			names = append(names, group)
		}
	}
	return names
}
