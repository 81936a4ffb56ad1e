// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/poll"
	"github.com/penstock-io/terraform-provider-penstock/internal/process"
)

// BaseImage is the AMI that every account and region has.
const BaseImage = "ami-0ba5e000000000001"

// ArmImage is another, of another architecture.
const ArmImage = "ami-0ba5e0000000000a1"

// images is moto's list of images, in place of the thousand that it brings.
const images = `[{
  "ami_id": "` + BaseImage + `", "name": "al2023-ami-test", "architecture": "x86_64", "owner_id": "137112412989",
  "image_location": "amazon/al2023-ami-test", "image_type": "machine", "public": true, "virtualization_type": "hvm",
  "hypervisor": "xen", "root_device_name": "/dev/xvda", "root_device_type": "ebs", "description": "test",
  "sriov": "simple", "platform": null, "state": "available", "owner_alias": "amazon"
}, {
  "ami_id": "` + ArmImage + `", "name": "al2023-arm-test", "architecture": "arm64", "owner_id": "137112412989",
  "image_location": "amazon/al2023-arm-test", "image_type": "machine", "public": true, "virtualization_type": "hvm",
  "hypervisor": "xen", "root_device_name": "/dev/xvda", "root_device_type": "ebs", "description": "test",
  "sriov": "simple", "platform": null, "state": "available", "owner_alias": "amazon"
}]`

// quicker is what Python runs before moto.
//
//go:embed sitecustomize.py
var quicker []byte

// server is moto with the proxy in front of it.
type server struct {
	url    string
	moto   *url.URL
	dir    string // of all files
	proc   *process.Process
	cancel context.CancelFunc
	http   *http.Server

	mu       sync.Mutex
	accounts map[string]*account // by ID
}

// start starts moto and the proxy.
func start() (_ *server, err error) {
	program, err := findMoto()
	if err != nil {
		return nil, err
	}
	s := &server{accounts: map[string]*account{}}
	if s.dir, err = os.MkdirTemp("", "penstock-cloudtest"); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(open(s.dir), open(filepath.Dir(self))); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	list := filepath.Join(s.dir, "images.json")
	if err := os.WriteFile(list, []byte(images), 0o600); err != nil {
		return nil, err
	}
	site := filepath.Join(s.dir, "site")
	if err := errors.Join(os.Mkdir(site, 0o700), os.WriteFile(filepath.Join(site, "sitecustomize.py"), quicker, 0o600)); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(s.dir, "moto.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	s.moto = &url.URL{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", port)}
	s.proc, err = process.Start(ctx, process.Spec{
		Args: []string{program, "-H", "127.0.0.1", "-p", fmt.Sprint(port)},
		Env: append(process.Environ(nil), "MOTO_ENABLE_AMI_VALIDATION=true", "MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION=true",
			"MOTO_ENABLE_KEYPAIR_VALIDATION=true", "MOTO_IAM_LOAD_MANAGED_POLICIES=true", "MOTO_AMIS_PATH="+list, "PYTHONDONTWRITEBYTECODE=1",
			"PYTHONPATH="+strings.TrimSuffix(site+string(os.PathListSeparator)+os.Getenv("PYTHONPATH"), string(os.PathListSeparator))),
		Stdout: log, Stderr: log,
	})
	if err != nil {
		return nil, err
	}
	if err := s.await(ctx); err != nil {
		text, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("%w: %s", err, text)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.url = "http://" + l.Addr().String()
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	go func() { _ = s.http.Serve(l) }()
	return s, nil
}

// findMoto finds the simulator: what MOTO_SERVER names, else the one on PATH.
func findMoto() (string, error) {
	if path := os.Getenv("MOTO_SERVER"); path != "" {
		return path, nil
	}
	path, err := exec.LookPath("moto_server")
	if err != nil {
		return "", fmt.Errorf("%w: run the tests with `make test`, which finds or installs it, or set MOTO_SERVER", err)
	}
	return path, nil
}

// freePort returns a port that nobody listens on at the moment.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// await waits until moto answers, or has ended.
func (s *server) await(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = s.proc.Wait()
		cancel()
	}()
	schedule := poll.Schedule{First: 100 * time.Millisecond, Max: 500 * time.Millisecond, Factor: 1.5, Limit: time.Minute, What: "moto_server"}
	return poll.Until(ctx, schedule, func(ctx context.Context) (poll.Probe, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.moto.String()+"/moto-api/", nil)
		if err != nil {
			return poll.Probe{}, err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return poll.Probe{State: err.Error()}, nil
		}
		return poll.Probe{Done: true}, resp.Body.Close()
	})
}

// close ends everything.
func (s *server) close() error {
	if s.http != nil {
		_ = s.http.Close()
	}
	s.mu.Lock()
	accounts := s.accounts
	s.accounts = map[string]*account{}
	s.mu.Unlock()
	for _, a := range accounts {
		a.end()
	}
	s.cancel()
	if s.proc != nil {
		_, _ = s.proc.Wait()
	}
	return os.RemoveAll(s.dir)
}
