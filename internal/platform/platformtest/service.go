// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package platformtest

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const serviceArgument = "platformtest-service"

// Mode is the variable that says how the service misbehaves.
const Mode = "SERVICE_MODE"

// The values of Mode.
const (
	ModeExit      = "exit"      // ends at once with status 3, after saying why
	ModeDaemon    = "daemon"    // ends at once with status 0
	ModeDeaf      = "deaf"      // runs and listens nowhere
	ModeElsewhere = "elsewhere" // listens on a port of its own choice
	ModeSick      = "sick"      // answers its health check with 500
	ModeStubborn  = "stubborn"  // takes no notice of SIGTERM
	ModeHTTP2     = "http2"     // speaks HTTP/2 only
)

// Serve makes this process the service if it was started as one, and then does
// not return. A TestMain calls it; see Start.
func Serve() {
	if len(os.Args) > 1 && os.Args[1] == serviceArgument {
		os.Exit(serve())
	}
}

// Start returns the command line that starts the service: this test binary.
func Start() string {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return "exec '" + strings.ReplaceAll(self, "'", `'\''`) + "' " + serviceArgument
}

func serve() int {
	mode := os.Getenv(Mode)
	terminate := make(chan os.Signal, 1)
	signal.Notify(terminate, syscall.SIGTERM)
	address := net.JoinHostPort(os.Getenv("HOST"), os.Getenv("PORT"))
	switch mode {
	case ModeExit:
		fmt.Println("cannot open the database")
		return 3
	case ModeDaemon:
		return 0
	case ModeDeaf:
		<-terminate
		return 0
	case ModeElsewhere:
		address = net.JoinHostPort(os.Getenv("HOST"), "0")
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("listening on", l.Addr())
	server := &http.Server{Handler: hanging(routes(mode)), Protocols: new(http.Protocols), DisableGeneralOptionsHandler: true}
	server.Protocols.SetHTTP1(mode != ModeHTTP2)
	server.Protocols.SetUnencryptedHTTP2(true)
	go func() {
		for range terminate {
			if mode != ModeStubborn {
				_ = server.Close()
			}
		}
	}()
	_ = server.Serve(l)
	return 0
}

// hanging answers nothing while there is a file "hung" in the service's directory.
func hanging(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := os.Stat("hung"); err == nil {
			fmt.Println("hangs:", r.Method, r.URL.Path)
			<-r.Context().Done()
			return
		}
		if r.URL.Path == "*" { // which a ServeMux refuses
			w.Header().Set("Allow", "GET, HEAD, OPTIONS")
			return
		}
		h.ServeHTTP(w, r)
	})
}

// seen is what the service saw of a request to /seen.
type seen struct {
	Method, Target, Proto, Host string
	Header, Trailer             http.Header
	Body                        string
	Error                       string // of the body
}

// show answers with what it saw, after hints, and with trailers: one that it announces and
// one that it does not.
func show(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	s := seen{r.Method, r.RequestURI, r.Proto, r.Host, r.Header, r.Trailer, string(body), ""}
	if err != nil {
		s.Error = err.Error()
	}
	w.Header().Set("Link", "</style.css>; rel=preload")
	w.WriteHeader(http.StatusEarlyHints)
	w.Header().Del("Link")
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Trailer", "X-Announced")
	_ = json.NewEncoder(w).Encode(s)
	w.Header().Set("X-Announced", "yes")
	w.Header().Set(http.TrailerPrefix+"X-Late", "too")
}

func routes(mode string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/seen/", show)
	mux.HandleFunc("/reject", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "too large", http.StatusRequestEntityTooLarge)
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if _, err := os.Stat("sick"); mode == ModeSick || err == nil {
			http.Error(w, "sick", http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("GET /env/{name}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, os.Getenv(r.PathValue("name")))
	})
	mux.HandleFunc("GET /file/{name}", func(w http.ResponseWriter, r *http.Request) { send(w, r.PathValue("name")) })
	mux.HandleFunc("PUT /file/{name}", func(w http.ResponseWriter, r *http.Request) { take(w, r.PathValue("name"), r.Body) })
	mux.HandleFunc("GET /data/{name}", func(w http.ResponseWriter, r *http.Request) {
		send(w, filepath.Join(os.Getenv("PENSTOCK_DATA"), r.PathValue("name")))
	})
	mux.HandleFunc("PUT /data/{name}", func(w http.ResponseWriter, r *http.Request) {
		take(w, filepath.Join(os.Getenv("PENSTOCK_DATA"), r.PathValue("name")), r.Body)
	})
	mux.HandleFunc("GET /slow/{duration}", func(w http.ResponseWriter, r *http.Request) {
		d, _ := time.ParseDuration(r.PathValue("duration"))
		_ = http.NewResponseController(w).Flush() // so that the client knows that it came in
		select {
		case <-time.After(d):
			fmt.Fprint(w, "done")
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.Copy(w, r.Body)
	})
	mux.HandleFunc("GET /header/{name}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, strings.Join(r.Header.Values(r.PathValue("name")), ","), r.Host)
	})
	mux.HandleFunc("GET /upgrade", upgrade)
	mux.HandleFunc("POST /exit", func(http.ResponseWriter, *http.Request) { os.Exit(4) })
	return mux
}

func send(w http.ResponseWriter, path string) {
	data, err := os.ReadFile(path)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	_, _ = w.Write(data)
}

func take(w http.ResponseWriter, path string, body io.Reader) {
	data, err := io.ReadAll(body)
	if err == nil {
		err = os.WriteFile(path, data, 0o600)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// upgrade switches to a protocol that sends back what it gets.
func upgrade(w http.ResponseWriter, _ *http.Request) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer func() { _ = conn.Close() }()
	_, _ = conn.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"))
	_, _ = io.Copy(conn, rw)
}
