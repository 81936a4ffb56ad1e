// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
)

type server struct {
	store  *Store
	config Config
	page   *template.Template
}

// newServer returns the shop's handler. static holds the page's template and the
// files that it needs.
func newServer(store *Store, config Config, static fs.FS) (http.Handler, error) {
	page, err := template.New("index.html").Funcs(template.FuncMap{"money": money}).ParseFS(static, "index.html")
	if err != nil {
		return nil, err
	}
	s := &server{store: store, config: config, page: page}
	orders := &orderDesk{store: store, config: config}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.showPage)
	mux.HandleFunc("GET /healthz", s.health)
	mux.HandleFunc("GET /version", s.version)
	mux.HandleFunc("GET /products", s.products)
	mux.HandleFunc("GET /orders", orders.list)
	mux.HandleFunc("POST /orders", orders.take)
	mux.Handle("GET /static/", http.StripPrefix("/static/", http.FileServerFS(static)))
	return mux, nil
}

func (s *server) showPage(w http.ResponseWriter, r *http.Request) {
	products, err := s.store.Products()
	if err != nil {
		fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	err = s.page.Execute(w, map[string]any{"Config": s.config, "Products": products, "Version": version})
	if err != nil {
		slog.Error("show page", "error", err)
	}
}

func (s *server) health(w http.ResponseWriter, r *http.Request) {
	if _, err := s.store.Products(); err != nil {
		fail(w, r, err)
		return
	}
	fmt.Fprintln(w, "ok")
}

func (s *server) version(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, version) }

func (s *server) products(w http.ResponseWriter, r *http.Request) {
	products, err := s.store.Products()
	if err != nil {
		fail(w, r, err)
		return
	}
	reply(w, http.StatusOK, products)
}

// money writes cents with two decimals.
func money(cents int) string { return fmt.Sprintf("%d.%02d", cents/100, cents%100) }

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		slog.Error("send answer", "error", err)
	}
}

func refuse(w http.ResponseWriter, status int, format string, args ...any) {
	reply(w, status, map[string]string{"error": fmt.Sprintf(format, args...)})
}

// fail answers with the status that belongs to err. What goes wrong inside is
// logged, not told.
func fail(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, errNotFound) {
		refuse(w, http.StatusNotFound, "%v", err)
		return
	}
	slog.Error("request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	refuse(w, http.StatusInternalServerError, "the shop can't answer now")
}
