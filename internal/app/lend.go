// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package app

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/penstock-io/terraform-provider-penstock/internal/cloud"
	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
)

// lender lends the credentials of targets to the providers of modules. A session of a role
// lasts an hour, and an apply may last longer: so what they get is an address on this machine
// at which every SDK of AWS asks for credentials, as containers of ECS and EKS do, and asks
// again before these end. The zero lender is not open yet.
type lender struct {
	logger hclog.Logger

	mu      sync.Mutex
	address string // "http://127.0.0.1:PORT"; empty: nobody needed it yet
	server  *http.Server
	tokens  map[string]*cloud.Cloud // by what who asks must show
	of      map[*cloud.Cloud]string
}

// readTimeout bounds what a request to the lender may take to arrive.
const readTimeout = 10 * time.Second

// variables returns the variables by which a process has the credentials and the region of a
// place, and nothing of this process's own; an empty one is to be removed. Without a role the
// process keeps its credentials.
func (l *lender) variables(there *cloud.Cloud, assumed bool) (map[string]string, error) {
	set := map[string]string{"AWS_REGION": there.Config.Region, "AWS_DEFAULT_REGION": there.Config.Region}
	if !assumed {
		return set, nil
	}
	address, token, err := l.lend(there)
	if err != nil {
		return nil, err
	}
	maps.Copy(set, map[string]string{
		"AWS_CONTAINER_CREDENTIALS_FULL_URI": address, "AWS_CONTAINER_AUTHORIZATION_TOKEN": token, "AWS_EC2_METADATA_DISABLED": "true",
		// What goes first in the chain of the SDKs.
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_DEFAULT_PROFILE": "",
		"AWS_ROLE_ARN": "", "AWS_WEB_IDENTITY_TOKEN_FILE": "", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
	})
	return set, nil
}

// lend returns where the credentials of a place are, and what must be shown for them.
func (l *lender) lend(there *cloud.Cloud) (address, token string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.server == nil {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", "", pipeline.Errorf(pipeline.CodeFailed, "lend credentials", "%w", err)
		}
		l.address, l.tokens, l.of = "http://"+listener.Addr().String()+"/", map[string]*cloud.Cloud{}, map[*cloud.Cloud]string{}
		l.server = &http.Server{Handler: http.HandlerFunc(l.serve), ReadTimeout: readTimeout}
		go func() { _ = l.server.Serve(listener) }() // until close
	}
	token, known := l.of[there]
	if !known {
		token = rand.Text()
		l.of[there], l.tokens[token] = token, there
	}
	return l.address, token, nil
}

// serve answers with the credentials of the place that a request shows the token of.
func (l *lender) serve(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	var there *cloud.Cloud
	for token, of := range l.tokens {
		if subtle.ConstantTimeCompare([]byte(token), []byte(strings.TrimSpace(r.Header.Get("Authorization")))) == 1 {
			there = of
		}
	}
	l.mu.Unlock()
	if there == nil {
		http.Error(w, `{"code":"AccessDenied","message":"the token is wrong"}`, http.StatusForbidden)
		return
	}
	got, err := there.Credentials(r.Context())
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		l.logger.Warn("lend credentials", "role", there.ARN, "error", err)
		w.WriteHeader(http.StatusInternalServerError)
		_ = json.NewEncoder(w).Encode(map[string]string{"code": "CredentialsUnavailable", "message": err.Error()})
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]string{
		"AccessKeyId": got.AccessKeyID, "SecretAccessKey": got.SecretAccessKey, "Token": got.SessionToken, "AccountId": there.Account,
		"Expiration": got.Expires.UTC().Format(time.RFC3339),
	})
}

// close ends the lending.
func (l *lender) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.server == nil {
		return nil
	}
	return l.server.Close()
}

// environ returns the variables by which the providers of a module reach a target.
func (t *targets) environ(ctx context.Context, at pipeline.Target) (map[string]string, error) {
	o, err := t.open(ctx, at)
	if err != nil {
		return nil, err
	}
	return t.lender.variables(o.cloud, at.RoleARN != "")
}
