// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package source

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// location is a repository as git reaches it.
type location struct {
	name     string // for people and records: as given, without credentials
	address  string // for git: a URL, or an absolute path
	dir      string // the path, where it is on this machine; else empty
	key      string // of its clone in the cache; the same with and without credentials
	username string // with password: for the credential helper that git is given
	password string
}

// private reports whether the location came with credentials.
func (l location) private() bool { return l.dir == "" && (l.password != "" || l.address != l.name) }

// public returns the address without credentials.
func (l location) public() string {
	if l.dir != "" {
		return l.dir
	}
	return l.name
}

// ValidateRepository checks the form of a repository: a URL (https, http, ssh, git
// or file), "user@host:path", or a path on this machine. Anything else that git
// would take, such as "ext::", may run commands, and is refused.
func ValidateRepository(repository string) error {
	_, err := locate(repository, ".")
	return err
}

var (
	transport = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9+.-]*::`)
	scheme    = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*)://`)
	shortSSH  = regexp.MustCompile(`^(?:([^@:/]*)@)?(\[[^\]/]*\]|[^:/\[\]]*):(.*)$`)
	username  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.+@~-]*$`)
	hostname  = regexp.MustCompile(`^[\pL\pN_](?:[\pL\pN_.-]*)$|^\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?\]$`)
)

// locate reads a repository argument. Relative paths are below base.
func locate(repository, base string) (location, error) {
	switch {
	case repository == "":
		return location{}, badRepository("", "is empty")
	case unprintable(repository):
		return location{}, badRepository("", "has a control character or is not UTF-8")
	case strings.HasPrefix(repository, "-"):
		return location{}, badRepository(repository, "begins with \"-\", which git takes for an option; write ./-… for such a directory")
	case transport.MatchString(repository):
		return location{}, badRepository(redact(repository), "names a transport helper, and some of those run commands")
	case scheme.MatchString(repository):
		return locateURL(repository)
	case filepath.IsAbs(repository):
		return localPath(repository, repository), nil
	}
	if colon := strings.IndexByte(repository, ':'); colon >= 0 && !strings.Contains(repository[:colon], "/") {
		return locateShortSSH(repository)
	}
	path, err := filepath.Abs(filepath.Join(base, filepath.FromSlash(repository)))
	if err != nil {
		return location{}, badRepository(repository, "can't be made absolute: "+err.Error())
	}
	return localPath(repository, path), nil
}

func locateURL(repository string) (location, error) {
	u, err := url.Parse(repository)
	if err != nil { // the error quotes parts of the URL, perhaps the password
		return location{}, badRepository(redact(repository), "is not a valid URL")
	}
	decoded := u.Host + u.Path + u.User.Username()
	password, hasPassword := u.User.Password()
	switch {
	case unprintable(decoded + password):
		return location{}, badRepository(redact(repository), "has an encoded control character")
	case !strings.HasPrefix(repository, u.Scheme+"://"):
		return location{}, badRepository(redact(repository), "has its scheme in capitals, which git takes for another one")
	case u.Scheme == "file":
		return locateFileURL(repository)
	case u.Scheme != "https" && u.Scheme != "http" && u.Scheme != "ssh" && u.Scheme != "git":
		return location{}, badRepository(redact(repository), "has the scheme \""+u.Scheme+"\", for which git may run any program of that name")
	case !hostname.MatchString(bracketed(u.Hostname())):
		return location{}, badRepository(redact(repository), "has no usable host name")
	case u.Scheme == "ssh" && u.User != nil && !username.MatchString(u.User.Username()):
		return location{}, badRepository(redact(repository), "has no usable user name")
	case u.Scheme == "ssh" && hasPassword:
		return location{}, badRepository(redact(repository), "has a password, but ssh takes none from a URL; use a key and its agent")
	}
	l := location{address: repository, name: repository}
	if u.User != nil && u.Scheme != "ssh" {
		bare := *u
		bare.User = nil
		l.name = bare.String()
		if hasPassword {
			l.address, l.username, l.password = l.name, u.User.Username(), password
		}
	}
	l.key = keyOf(l.name)
	return l, nil
}

// bracketed returns the host as it is written in a URL.
func bracketed(host string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

// locateFileURL takes a file URL for the path that it names, decoded as git does.
func locateFileURL(repository string) (location, error) {
	path, err := url.PathUnescape(strings.TrimPrefix(repository, "file://"))
	if err != nil || !strings.HasPrefix(path, "/") {
		return location{}, badRepository(repository, "is not a file URL of this machine: it has the form file:///path")
	}
	if unprintable(path) {
		return location{}, badRepository(repository, "has an encoded control character")
	}
	return localPath(repository, filepath.FromSlash(path)), nil
}

func locateShortSSH(repository string) (location, error) {
	m := shortSSH.FindStringSubmatch(repository)
	switch {
	case m == nil || !hostname.MatchString(m[2]):
		return location{}, badRepository(redact(repository), "has no usable host name before the colon; write ./… for a path with a colon")
	case strings.HasPrefix(repository, "@"), m[1] != "" && !username.MatchString(m[1]):
		return location{}, badRepository(redact(repository), "has no usable user name before the \"@\"")
	case m[3] == "" || strings.HasPrefix(m[3], "-"):
		return location{}, badRepository(redact(repository), "has no usable path after the colon")
	}
	return location{name: repository, address: repository, key: keyOf(repository)}, nil
}

func localPath(name, path string) location {
	path = filepath.Clean(path)
	return location{name: name, address: path, dir: path, key: keyOf(path)}
}

// keyOf names the clone of an address: short enough for every file system.
func keyOf(address string) string {
	sum := sha256.Sum256([]byte(address))
	return hex.EncodeToString(sum[:16])
}

func badRepository(repository, reason string) error {
	return pipeline.Errorf(pipeline.CodeInvalid, "check repository", "repository %q %s", clip(repository), reason).
		WithHint("Set repository to an https, ssh, git or file URL, to user@host:path, or to a path on this machine.")
}

// credentials are what stands between a scheme and an "@".
var credentials = regexp.MustCompile(`(://)[^/]*@`)

// redact removes credentials from text that may hold a URL, however malformed.
func redact(text string) string { return credentials.ReplaceAllString(text, "${1}…@") }

// redact removes the location's own credentials from text.
func (l location) redact(text string) string {
	text = redact(text)
	for _, secret := range []string{l.password, url.QueryEscape(l.password), url.PathEscape(l.password)} {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "…")
		}
	}
	return text
}
