// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A ticket is the right to send one form, once, for what the form was made for. It is signed with
// the value of the session's cookie, of which the board keeps only a hash. So a board that is
// started again takes the forms that were open before; it remembers those that were sent.

const (
	ticketLife = sessionLife // after it a form is too old
	maxSpent   = 1000        // tickets of a browser that are remembered
)

// spent are the tickets of a browser that were redeemed.
type spent struct {
	At    map[string]time.Time `json:"at,omitempty"`   // when each was issued, by its nonce
	Floor time.Time            `json:"floor,omitzero"` // the tickets until then are not remembered, and count no more
}

// add notes a ticket. It reports false for one that was redeemed already, or may have been.
func (p *spent) add(nonce string, issued, now time.Time) bool {
	if _, known := p.At[nonce]; known || !issued.After(p.Floor) {
		return false
	}
	maps.DeleteFunc(p.At, func(_ string, at time.Time) bool { return now.Sub(at) > ticketLife })
	if len(p.At) >= maxSpent {
		for _, old := range slices.SortedFunc(maps.Keys(p.At), func(a, b string) int { return p.At[a].Compare(p.At[b]) })[:maxSpent/2] {
			p.Floor = p.At[old]
			delete(p.At, old)
		}
	}
	if p.At == nil {
		p.At = map[string]time.Time{}
	}
	p.At[nonce] = issued
	return true
}

// issue returns a ticket for a form.
func (s *session) issue(about string, now time.Time) string {
	issued, nonce := strconv.FormatInt(now.UnixNano(), 36), rand.Text()
	return strings.Join([]string{issued, nonce, s.seal(issued, nonce, about)}, ".")
}

// seal signs a ticket.
func (s *session) seal(issued, nonce, about string) string {
	mac := hmac.New(sha256.New, []byte(s.secret))
	fmt.Fprintf(mac, "ticket\x00%s\x00%s\x00%s\x00%s", issued, nonce, s.person.Name, about)
	return hex.EncodeToString(mac.Sum(nil))
}

// redeemed is what became of a ticket.
type redeemed int

const (
	redeemedNow    redeemed = iota
	redeemedBefore          // its form was sent already
	redeemedNever           // it is not of this session, not for this, or too old
)

// redeem takes a ticket. It counts for whoever comes after a restart, too, before this returns.
func (s *session) redeem(ticket, about string, now time.Time) redeemed {
	parts := strings.Split(ticket, ".")
	if len(parts) != 3 || !hmac.Equal([]byte(parts[2]), []byte(s.seal(parts[0], parts[1], about))) {
		return redeemedNever
	}
	nanoseconds, err := strconv.ParseInt(parts[0], 36, 64)
	issued := time.Unix(0, nanoseconds)
	if err != nil || now.Sub(issued) > ticketLife {
		return redeemedNever
	}
	s.mu.Lock()
	first := s.spent.add(parts[1], issued, now)
	s.mu.Unlock()
	if !first {
		return redeemedBefore
	}
	s.all.save()
	return redeemedNow
}
