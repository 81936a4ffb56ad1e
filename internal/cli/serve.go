// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"github.com/penstock-io/terraform-provider-penstock/internal/app"
	"github.com/penstock-io/terraform-provider-penstock/internal/board"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// clientSecretVariable holds the secret that the OpenID provider knows the board by.
const clientSecretVariable = "PENSTOCK_OIDC_CLIENT_SECRET"

// environmentHost is the host name of environments on this machine.
const environmentHost = "127.0.0.1"

// defaultListen is where the board is if nobody says: on this machine only.
const defaultListen = "127.0.0.1:7436"

type serveOptions struct {
	*factory
	listen, url      string
	cert, key        string
	open             bool
	oidc             board.OIDCOptions
	secretFile       string
	proxy            board.Proxy
	trusted          []string
	metricsTokenFile string
	logLevel         string
}

func newServe(f *factory, runF func(context.Context, *serveOptions) error) *cobra.Command {
	o := &serveOptions{factory: f}
	if runF == nil {
		runF = runServe
	}
	c := &cobra.Command{
		Use:   "serve",
		Short: "Show pipelines in a browser, with buttons for decisions",
		Long: "Serve a page on which people see the pipelines and take their decisions. Without flags it is for this machine,\n" +
			"and lets in one browser, as you, by the address that it prints.\n\n" +
			"For more people, let them sign in with an OpenID provider (--oidc-issuer), or put the board behind a reverse\n" +
			"proxy that has signed them in (--proxy-header). The pipeline's authorize says what each person may do.",
		Args: args(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			return runF(c.Context(), o)
		},
	}
	flags := c.Flags()
	flags.StringVar(&o.listen, "listen", defaultListen, "the address to listen on; port 0 takes a free one")
	flags.StringVar(&o.url, "url", "", "where browsers reach the board, such as https://board.example.com (default: the address)")
	flags.StringVar(&o.cert, "tls-cert", "", "a file with a certificate, and its chain")
	flags.StringVar(&o.key, "tls-key", "", "a file with the certificate's key")
	flags.BoolVar(&o.open, "open", false, "open the board in a browser")
	flags.StringVar(&o.oidc.Issuer, "oidc-issuer", "", "the OpenID provider's URL")
	flags.StringVar(&o.oidc.ClientID, "oidc-client-id", "", "the board's name at the OpenID provider")
	flags.StringVar(&o.secretFile, "oidc-client-secret-file", "", "a file with the client's secret (default: $"+clientSecretVariable+")")
	flags.StringSliceVar(&o.oidc.Scopes, "oidc-scopes", nil, "what to request besides openid (default profile,email)")
	flags.StringVar(&o.oidc.NameClaim, "oidc-name-claim", "", "the claim that names people (default: a verified email, otherwise sub:SUBJECT)")
	flags.StringVar(&o.oidc.GroupsClaim, "oidc-groups-claim", "", "the claim that lists their groups (default groups)")
	flags.StringArrayVar(&o.oidc.Allow, "oidc-allow", nil, "who gets in: a name, @group, or a verified address with * and ? as wildcards; may be repeated; '*' is every user of the provider")
	flags.StringVar(&o.proxy.Header, "proxy-header", "", "the header in which a reverse proxy names people, such as X-Forwarded-User")
	flags.StringVar(&o.proxy.Groups, "proxy-groups-header", "", "the header in which the proxy lists their groups, separated by commas")
	flags.StringSliceVar(&o.trusted, "trusted-proxy", nil, "the proxy's address or network, such as 10.0.0.0/24; may be repeated")
	flags.StringVar(&o.metricsTokenFile, "metrics-token-file", "", "a file with the bearer token that opens /metrics to a scraper")
	flags.StringVar(&o.logLevel, "log-level", "info", "how much to log: trace, debug, info, warn or error")
	return c
}

// check refuses what would let in nobody, or anybody.
func (o *serveOptions) check() error {
	usage := func(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }
	host, _, err := net.SplitHostPort(o.listen)
	if err != nil {
		return usage("--listen %q is not an address with a port, such as %s: %v", o.listen, defaultListen, err)
	}
	oidc, proxy := o.oidc.Issuer != "", o.proxy.Header != ""
	at, err := url.Parse(o.url)
	if err != nil || o.url != "" && (at.Scheme != "http" && at.Scheme != "https" || at.Host == "" || strings.Trim(at.Path, "/") != "") {
		return usage("--url %q is not the address of a host, such as https://board.example.com", o.url)
	}
	if isEnvironmentHost(at.Hostname()) {
		return usage("--url %q has the host name of environments on this machine, which would get the board's cookies: use http://localhost, with the port", o.url)
	}
	for _, cidr := range o.trusted {
		network, err := netip.ParsePrefix(cidr)
		if address, single := netip.ParseAddr(cidr); err != nil && single == nil {
			network, err = netip.PrefixFrom(address, address.BitLen()), nil
		}
		if err != nil {
			return usage("--trusted-proxy %q is neither an address nor a network: %v", cidr, err)
		}
		o.proxy.Trusted = append(o.proxy.Trusted, network.Masked())
	}
	for _, entry := range o.oidc.Allow {
		group, is := strings.CutPrefix(entry, "@")
		switch {
		case strings.TrimSpace(entry) != entry || entry == "" || is && group == "":
			return usage("--oidc-allow %q is neither a name nor @ and the name of a group", entry)
		case is && strings.ContainsAny(group, "*?"):
			return usage("--oidc-allow %q has a wildcard, but a group must be named in full; only names may have wildcards", entry)
		}
	}
	switch {
	case (o.cert == "") != (o.key == ""):
		return usage("--tls-cert and --tls-key go together")
	case oidc && proxy:
		return usage("--oidc-issuer and --proxy-header are two ways to identify people: choose one")
	case oidc && len(o.oidc.Allow) == 0:
		return usage("--oidc-issuer needs --oidc-allow: say who gets in; --oidc-allow '*' means every user of the provider")
	case oidc && o.oidc.ClientID == "":
		return usage("--oidc-issuer needs --oidc-client-id")
	case !oidc && (o.oidc.ClientID != "" || o.secretFile != "" || len(o.oidc.Allow) > 0):
		return usage("--oidc-client-id, --oidc-client-secret-file and --oidc-allow need --oidc-issuer")
	case proxy && len(o.trusted) == 0:
		return usage("--proxy-header needs --trusted-proxy: without it, anybody who reaches the board could claim any name")
	case proxy && o.url == "":
		return usage("--proxy-header needs --url, the address at which browsers reach the proxy")
	case !proxy && (len(o.trusted) > 0 || o.proxy.Groups != ""):
		return usage("--trusted-proxy and --proxy-groups-header need --proxy-header")
	case !loopback(host) && !oidc && !proxy:
		return usage("other machines can reach --listen %s: use --oidc-issuer or --proxy-header to identify people", o.listen)
	case oidc && !loopback(host) && (o.url == "" || at.Scheme != "https"):
		return usage("people who sign in from other machines need TLS: set --url https://…, and --tls-cert unless a proxy has it")
	}
	if oidc {
		if err := board.CheckIssuer(o.oidc.Issuer); err != nil {
			return &usageError{err}
		}
	}
	if hclog.LevelFromString(o.logLevel) == hclog.NoLevel {
		return usage("--log-level %q is none of trace, debug, info, warn, error", o.logLevel)
	}
	return nil
}

// loopback reports whether only this machine reaches a host.
func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.IsLoopback()
}

// localhost reports whether a name is the machine's own, in which other programs can't be
// told from the board: localhost, and what is below it.
func localhost(name string) bool {
	name = strings.ToLower(name)
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}

// served is the JSON shape of a board that was started.
type served struct {
	URL string `json:"url"`
}

func runServe(ctx context.Context, o *serveOptions) error {
	return o.with(ctx, func(a *app.App) error {
		listeners, err := listen(o.listen)
		if err != nil {
			return err
		}
		defer func() {
			for _, l := range listeners {
				_ = l.Close()
			}
		}()
		address := listeners[0].Addr().(*net.TCPAddr)
		at := o.base(address)
		access, err := o.access(ctx, a, at)
		if err != nil {
			return err
		}
		secret, err := secretFrom(o.metricsTokenFile, "", "--metrics-token-file")
		if err != nil {
			return err
		}
		a.Stay()
		tightenMemory()
		logger := hclog.New(&hclog.LoggerOptions{Name: "board", Output: o.Err, Level: hclog.LevelFromString(o.logLevel), JSONFormat: o.json})
		b := board.New(board.Options{
			Engine: a.Engine, Access: access, Hosts: o.hosts(at, address), Secure: strings.HasPrefix(at, "https:"), Where: a.Where(), Version: o.version,
			Sessions: o.sessions(a), MetricsToken: secret.Reveal(), Logger: logger,
		})
		if o.url != "" && !o.json {
			fmt.Fprintf(o.Err, "It listens on %s.\n", address)
		}
		return o.serve(ctx, b, listeners, at, access)
	})
}

// base returns where browsers reach the board. On this machine that is localhost: the host
// name 127.0.0.1 is that of environments, and browsers send the cookies of a name to all its
// ports.
func (o *serveOptions) base(address *net.TCPAddr) string {
	if o.url != "" {
		return strings.TrimRight(o.url, "/")
	}
	host := address.String()
	if isEnvironmentHost(address.IP.String()) {
		host = net.JoinHostPort("localhost", strconv.Itoa(address.Port))
	}
	return o.scheme() + "://" + host
}

// scheme is what the listener speaks.
func (o *serveOptions) scheme() string {
	if o.cert != "" {
		return "https"
	}
	return "http"
}

// isEnvironmentHost reports whether environments on this machine have a host name.
func isEnvironmentHost(name string) bool {
	address, err := netip.ParseAddr(name)
	return err == nil && (address == netip.MustParseAddr(environmentHost) || address == netip.IPv6Loopback())
}

// sessions returns the file that keeps sessions for the next start. A board on any free port
// has none: nobody finds it again.
func (o *serveOptions) sessions(a *app.App) string {
	if _, port, err := net.SplitHostPort(o.listen); err == nil && port != "0" {
		return filepath.Join(a.Dir, app.BoardDir, port+".json")
	}
	return ""
}

// serve answers until the command is interrupted.
func (o *serveOptions) serve(ctx context.Context, b *board.Board, listeners []net.Listener, at string, access board.Access) error {
	token, _ := access.(*board.Token) // nil where people sign in in another way
	begin := at + "/"
	if token != nil {
		begin = at + token.Path()
	}

	server := &http.Server{
		Handler: b, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 2 * time.Minute, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 64 << 10,
	}
	ended := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() {
			if o.cert != "" {
				ended <- server.ServeTLS(l, o.cert, o.key)
				return
			}
			ended <- server.Serve(l)
		}()
	}
	if o.json {
		if err := o.printJSON(served{begin}); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(o.Out, "%s\n", begin)
		fmt.Fprintln(o.Err, "An interrupt ends the board.")
	}
	if o.open {
		o.openBrowser(begin)
	}
	if token != nil {
		o.offerAddresses(ctx, token, at)
	}
	select {
	case err := <-ended:
		b.Close()
		return err
	case <-ctx.Done():
	case <-o.viewing():
	}
	b.Close() // streams end, and launches are cleaned up
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := server.Shutdown(stop); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return server.Close()
}

// access says how people get in.
func (o *serveOptions) access(ctx context.Context, a *app.App, at string) (board.Access, error) {
	switch {
	case o.oidc.Issuer != "":
		secret, err := secretFrom(o.secretFile, clientSecretVariable, "--oidc-client-secret-file")
		if err != nil {
			return nil, err
		}
		o.oidc.URL, o.oidc.ClientSecret = at, secret
		return board.NewOIDC(ctx, o.oidc)
	case o.proxy.Header != "":
		return &o.proxy, nil
	default:
		return board.NewToken(a.Person()), nil
	}
}

// secretFrom reads a secret from a file, else from a variable; empty where neither is named.
func secretFrom(file, variable, flag string) (pipeline.Secret, error) {
	if file == "" {
		if variable == "" {
			return "", nil
		}
		return pipeline.Secret(os.Getenv(variable)), nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return "", pipeline.Errorf(pipeline.CodeInvalid, "read secret", "%s: %w", flag, err)
	}
	secret := strings.TrimSpace(string(data))
	if secret == "" {
		return "", pipeline.Errorf(pipeline.CodeInvalid, "read secret", "%s: %s is empty", flag, file)
	}
	return pipeline.Secret(secret), nil
}

// hosts returns the Host headers that belong to a board at a URL, and where a proxy is in
// front of it, those of the address that it listens on: some proxies send that. Browsers
// leave out the port that goes with a scheme, other programs may not.
func (o *serveOptions) hosts(at string, address *net.TCPAddr) []string {
	ports, list := map[string]string{"http": "80", "https": "443"}, []string{}
	add := func(scheme, host, port string) {
		if port != "" && port != ports[scheme] {
			list = append(list, net.JoinHostPort(host, port))
			return
		}
		withPort := net.JoinHostPort(host, ports[scheme])
		list = append(list, strings.TrimSuffix(withPort, ":"+ports[scheme]), withPort)
	}
	u, err := url.Parse(at)
	if err != nil {
		return nil // checked before
	}
	add(u.Scheme, u.Hostname(), u.Port())
	if o.url != "" && !localhost(u.Hostname()) && !address.IP.IsUnspecified() {
		add(o.scheme(), address.IP.String(), strconv.Itoa(address.Port))
	}
	return list
}

// listen listens on an address. A board on this machine is localhost to browsers, some of
// which try ::1 before 127.0.0.1: it takes both, so that no other program gets what is meant
// for it.
func listen(address string) ([]net.Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if !isEnvironmentHost(host) && !strings.EqualFold(host, "localhost") {
		l, err := net.Listen("tcp", address)
		return []net.Listener{l}, taken(address, err)
	}
	const tries = 20 // free ports of the one may be taken at the other
	for try := 1; ; try++ {
		first, err := net.Listen("tcp4", net.JoinHostPort(environmentHost, port))
		if err != nil {
			return nil, taken(address, err)
		}
		second, err := net.Listen("tcp6", net.JoinHostPort(net.IPv6loopback.String(), portOf(first)))
		switch {
		case err == nil:
			return []net.Listener{first, second}, nil
		case !errors.Is(err, syscall.EADDRINUSE):
			return []net.Listener{first}, nil // there is no version 6 here
		}
		_ = first.Close()
		if port != "0" || try == tries {
			return nil, taken(address, err)
		}
	}
}

func portOf(l net.Listener) string { return strconv.Itoa(l.Addr().(*net.TCPAddr).Port) }

// taken says that an address can't be had; nil for no error.
func taken(address string, err error) error {
	if err == nil {
		return nil
	}
	return pipeline.Errorf(pipeline.CodeInvalid, "listen", "--listen %s: %w", address, err).
		WithHint("Another `penstock serve` may use that address; --listen 127.0.0.1:0 takes a free port.")
}
