// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package acceptance_test

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// onAccount is what make's targets say, and a run of all tests does not, whatever variables
// there are.
var onAccount = flag.Bool("account", false, "use the account of AWS's that the environment has credentials of")

// What steers the program on a real account.
const (
	acceptVariable  = "PENSTOCK_ACCEPT"               // 1: ask; or the US dollars that it may cost, for accountVariable
	accountVariable = "PENSTOCK_ACCEPT_ACCOUNT"       // the ID of the account
	stackVariable   = "PENSTOCK_ACCEPT_STACK"         // the name of the stack
	secondVariable  = "PENSTOCK_ACCEPT_SECOND_REGION" // the region to publish to
	reportVariable  = "PENSTOCK_ACCEPT_REPORT"        // the file of the report

	defaultStack = "penstock-acceptance"
)

// stackName is what a stack of the program's may be called. CloudFormation shortens the names
// of roles of a longer one.
var stackName = regexp.MustCompile(`^` + defaultStack + `(-[a-zA-Z0-9-]{1,8})?$`)

// consent is what somebody has agreed to before the program began.
type consent struct {
	dollars float64 // 0: they are asked
	account string  // empty: they did not say
	name    string  // of the account, as they are asked for it
	tty     func() (io.ReadWriteCloser, error)
}

// consentOf reads a consent from the environment.
func consentOf(getenv func(string) string) (consent, error) {
	c := consent{account: getenv(accountVariable), tty: func() (io.ReadWriteCloser, error) { return os.OpenFile("/dev/tty", os.O_RDWR, 0) }}
	switch said := getenv(acceptVariable); said {
	case "":
		return c, fmt.Errorf("this uses a real account of AWS, and costs money: set %s=1 to go on", acceptVariable)
	case "1":
	default:
		dollars, err := strconv.ParseFloat(said, 64)
		if err != nil || !(dollars > 1 && dollars < 1000) {
			return c, fmt.Errorf("%s is %q: set it to 1 to be asked, or to the most that the run may cost in US dollars, such as 2.50", acceptVariable, said)
		}
		if c.account == "" {
			return c, fmt.Errorf("%s is %q, so nobody is asked: set %s to the ID of the account that may be used", acceptVariable, said, accountVariable)
		}
		c.dollars = dollars
	}
	return c, nil
}

// ask asks on the terminal whether to go on, unless somebody has said so for this account and
// for these costs. Only the ID of the account is a yes.
func (c consent) ask(ctx context.Context, text string, costs float64) error {
	switch {
	case c.account != "" && c.account != c.name:
		return fmt.Errorf("%sthe credentials are of account %s, and %s is %s: nothing was changed", text, c.name, accountVariable, c.account)
	case c.dollars != 0 && c.dollars < costs:
		return fmt.Errorf("%sthat is more than US$ %.2f, which %s allows: nothing was changed", text, c.dollars, acceptVariable)
	case c.dollars != 0:
		fmt.Fprint(os.Stderr, text)
		return ctx.Err()
	}
	tty, err := c.tty()
	if err != nil {
		return fmt.Errorf("%sthere is no terminal to ask on: set %s to what it may cost, such as %.2f, and %s to the ID of the account", text, acceptVariable, max(costs, 2), accountVariable)
	}
	defer tty.Close()
	fmt.Fprintf(tty, "%sTo go on, type the ID of the account: ", text)
	said := make(chan string, 1)
	go func() { // until the terminal is closed
		line, _ := bufio.NewReader(tty).ReadString('\n')
		said <- strings.TrimSpace(line)
	}()
	select {
	case line := <-said:
		if line != c.name {
			return fmt.Errorf("%q is not the ID of the account: nothing was changed", line)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// describe names the account, for somebody who has several.
func (a *account) describe() string {
	return fmt.Sprintf("Account:   %s (%s)\nAs:        %s\nStack:     %s\nRegion:    %s, and %s for copies of images\n",
		a.id, cmp.Or(a.alias, "no alias, or none that can be read"), a.caller, a.stack, a.region, a.second)
}

// realAccount returns the account that the environment has credentials of, and what somebody agreed
// to. What is missing is an error, unless no target of make has asked for an account.
func realAccount(t *testing.T) (*account, consent) {
	t.Helper()
	if !*onAccount {
		t.Skip("`make acceptance-aws` runs this on an account of AWS's")
	}
	agreed, err := consentOf(os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	a, err := accountOf(t.Context(), os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	agreed.name = a.id
	return a, agreed
}

// accountOf returns the account that the environment has credentials of.
func accountOf(ctx context.Context, getenv func(string) string) (*account, error) {
	name := cmp.Or(getenv(stackVariable), defaultStack)
	if !stackName.MatchString(name) {
		return nil, fmt.Errorf("%s is %q: it must be %s, or that with a hyphen and up to 8 letters or digits, as the program removes everything of that stack", stackVariable, name, defaultStack)
	}
	c, err := cloud.Load(ctx, cloud.Options{})
	if own := (*pipeline.Error)(nil); errors.As(err, &own) {
		return nil, fmt.Errorf("%w\n%s", err, own.Hint)
	}
	if err != nil {
		return nil, err
	}
	switch {
	case c.Emulated():
		return nil, fmt.Errorf("%s is no AWS: unset AWS_ENDPOINT_URL", aws.ToString(c.Config.BaseEndpoint))
	case strings.HasSuffix(c.ARN, ":root"):
		return nil, fmt.Errorf("the credentials are of the root user of account %s, who can't assume the roles of a stack: take those of a user or role that may administer it", c.Account)
	}
	a := &account{
		id: c.Account, caller: c.ARN, own: c.Config, region: c.Config.Region, stack: name,
		second:       cmp.Or(getenv(secondVariable), "us-east-1"),
		instanceType: "t4g.small", architecture: "arm64", image: "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64",
		outside: true, pause: "30s", load: "20s", look: 20 * time.Second,
	}
	if a.second == a.region && getenv(secondVariable) == "" {
		a.second = "us-west-2"
	}
	if a.second == a.region {
		return nil, fmt.Errorf("%s is %s, which is the region of the pipeline: name another", secondVariable, a.second)
	}
	if aliases, err := iam.NewFromConfig(a.own).ListAccountAliases(ctx, &iam.ListAccountAliasesInput{}); err == nil { // who may not ask knows it otherwise
		a.alias = strings.Join(aliases.AccountAliases, ", ")
	}
	a.environ = a.assumed
	a.pass = func(ctx context.Context, d time.Duration) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(d):
			return nil
		}
	}
	return a, nil
}

// errInterrupted is why a route ends at Ctrl-C, which the terminal tells its commands, too.
var errInterrupted = errors.New("interrupted")

// interruptible returns a context that Ctrl-C ends, so that what was made is removed after it.
func interruptible(t *testing.T) context.Context {
	t.Helper()
	ctx, stop := context.WithCancelCause(context.WithoutCancel(t.Context()))
	said := make(chan os.Signal, 1)
	signal.Notify(said, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case <-said:
			stop(errInterrupted)
		case <-ctx.Done():
		}
	}()
	t.Cleanup(func() {
		signal.Stop(said)
		stop(nil)
	})
	return ctx
}

// terminal is one of a test: it says a line, and takes what is written.
type terminal struct {
	io.Reader
	strings.Builder
}

func (*terminal) Close() error { return nil }

// TestConsent: nobody's account is used without a word that fits it, and the costs.
func TestConsent(t *testing.T) {
	const account = "123456789012"
	for name, c := range map[string]struct {
		accept, account string
		says            string // on the terminal; "none" is no terminal
		wrong           string // part of the error; empty for none
	}{
		"nothing":                      {wrong: "set PENSTOCK_ACCEPT=1"},
		"asked":                        {accept: "1", says: account + "\n"},
		"asked, for an account":        {accept: "1", account: account, says: " " + account + " \n"},
		"asked, for another account":   {accept: "1", account: "210987654321", says: account + "\n", wrong: "PENSTOCK_ACCEPT_ACCOUNT is 210987654321"},
		"a yes":                        {accept: "1", says: "yes\n", wrong: "not the ID"},
		"a line":                       {accept: "1", says: "\n", wrong: "not the ID"},
		"an end":                       {accept: "1", says: "", wrong: "not the ID"},
		"no terminal":                  {accept: "1", says: "none", wrong: "no terminal"},
		"no terminal, with an account": {accept: "1", account: account, says: "none", wrong: "no terminal"},
		"dollars":                      {accept: "2.50", account: account, says: "none"},
		"few dollars":                  {accept: "1.50", account: account, says: "none", wrong: "more than US$ 1.50"},
		"dollars of no account":        {accept: "2.50", says: "none", wrong: "set PENSTOCK_ACCEPT_ACCOUNT"},
		"dollars of another account":   {accept: "2.50", account: "210987654321", says: "none", wrong: "are of account " + account},
		"a word":                       {accept: "yes", account: account, wrong: "such as 2.50"},
		"no number":                    {accept: "NaN", account: account, wrong: "such as 2.50"},
		"infinity":                     {accept: "Inf", account: account, wrong: "such as 2.50"},
	} {
		at := &terminal{Reader: strings.NewReader(c.says)}
		agreed, err := consentOf(func(v string) string {
			return map[string]string{acceptVariable: c.accept, accountVariable: c.account}[v]
		})
		if err == nil {
			agreed.name, agreed.tty = account, func() (io.ReadWriteCloser, error) {
				if c.says == "none" {
					return nil, os.ErrNotExist
				}
				return at, nil
			}
			err = agreed.ask(t.Context(), "It costs.\n", 2.10)
		}
		if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%s: %v", name, err)
		}
		if asked := at.String(); asked != "" && !strings.HasPrefix(asked, "It costs.") {
			t.Errorf("%s: asked %q", name, asked)
		}
	}
}

// TestAccountIsRefused: what is missing is said, before anything is asked of AWS.
func TestAccountIsRefused(t *testing.T) {
	for _, v := range append(credentials, "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
		t.Setenv(v, "")
		os.Unsetenv(v)
	}
	t.Setenv("HOME", t.TempDir())
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	for _, v := range []string{"AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"} {
		t.Setenv(v, os.DevNull)
	}
	refused := func(want string, env map[string]string) {
		t.Helper()
		for k, v := range env {
			t.Setenv(k, v)
		}
		if _, err := accountOf(t.Context(), os.Getenv); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", env, err, want)
		}
	}
	refused("AWS_REGION", nil)
	refused("check the credentials", map[string]string{"AWS_REGION": "eu-west-1"})
	for _, name := range []string{"penstock", "production", "penstock-acceptance-", "penstock-acceptance-and-much-more", "penstock-acceptance_2"} {
		refused("must be penstock-acceptance", map[string]string{stackVariable: name})
	}
	t.Setenv(stackVariable, "penstock-acceptance-ada")
	refused("check the credentials", nil)
}
