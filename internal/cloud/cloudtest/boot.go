// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"context"
	"crypto/rand"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/process"
)

const (
	// bootedFile is there when the user data has run.
	bootedFile = "run/cloud-init/result.json"

	// bootIDFile has what tells one boot of a machine from another.
	bootIDFile = "proc/sys/kernel/random/boot_id"
)

// cloudInit is cloud-init on an instance.
const cloudInit = `#!/bin/sh
if [ "$1" = status ]; then while [ ! -e "$PENSTOCK_SYSROOT/` + bootedFile + `" ]; do sleep 0.05; done; fi
`

// boot does what happens when an instance starts, as cloud-init and systemd order it: the
// boot hooks of the user data, at every boot; then the services that are enabled; and then,
// at the first boot, the scripts of the user data.
func (i *instance) boot() {
	i.mu.Lock()
	up, wait, first := i.up, time.Until(i.running), !i.booted
	i.booted = true
	i.mu.Unlock()
	select {
	case <-up.Done():
		return
	case <-time.After(wait):
	}
	hooks, scripts := userDataParts(i.userData)
	if !i.put(bootIDFile, rand.Text()) {
		return
	}
	for _, hook := range hooks {
		i.runUserData(up, hook)
	}
	enabled, _ := os.ReadDir(filepath.Join(i.root, "etc/systemd/system/multi-user.target.wants"))
	for _, unit := range enabled {
		i.start(strings.TrimSuffix(unit.Name(), ".service"))
	}
	for _, script := range scripts {
		if first {
			i.runUserData(up, script)
		}
	}
	if up.Err() == nil {
		i.put(bootedFile, "{}")
	}
}

// put writes a file of the machine.
func (i *instance) put(name, text string) bool {
	file := filepath.Join(i.root, name)
	return os.MkdirAll(filepath.Dir(file), 0o755) == nil && os.WriteFile(file, []byte(text), 0o644) == nil
}

func (i *instance) runUserData(up context.Context, text string) {
	if !strings.HasPrefix(text, "#!") {
		return
	}
	script := filepath.Join(i.root, ".bin", "user-data-"+rand.Text())
	log, err := os.OpenFile(filepath.Join(i.root, ".bin", "user-data.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return
	}
	defer log.Close()
	if os.WriteFile(script, []byte(text), 0o755) == nil {
		i.spawn(up, process.Spec{Args: []string{script}, Dir: i.root, Env: append(i.environ(), "INSTANCE_ID="+i.id), Stdout: log, Stderr: log})
	}
}

// begin says that something runs on the machine until it is done with, and until when the
// machine is up; false while it is down.
func (i *instance) begin() (up context.Context, ok bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.up.Err() != nil {
		return nil, false
	}
	i.processes.Add(1)
	return i.up, true
}

// spawn runs a process until it ends, or the machine goes down, which down says.
func (i *instance) spawn(ctx context.Context, spec process.Spec) (code int, down bool) {
	up, ok := i.begin()
	if !ok {
		return -1, true
	}
	defer i.processes.Done()
	both, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(up, cancel)()
	p, err := process.Start(both, spec)
	if err != nil {
		return -1, up.Err() != nil
	}
	exit, _ := p.Wait()
	return exit.Code, up.Err() != nil
}

// userDataParts returns what cloud-init runs of user data: the boot hooks, without their
// mark, and the scripts.
func userDataParts(text string) (hooks, scripts []string) {
	message, err := mail.ReadMessage(strings.NewReader(text))
	if err == nil {
		kind, parameters, _ := mime.ParseMediaType(message.Header.Get("Content-Type"))
		if strings.HasPrefix(kind, "multipart/") {
			parts := multipart.NewReader(message.Body, parameters["boundary"])
			for part, err := parts.NextPart(); err == nil; part, err = parts.NextPart() {
				body, _ := io.ReadAll(part)
				h, s := userDataParts(string(body))
				hooks, scripts = append(hooks, h...), append(scripts, s...)
			}
			return hooks, scripts
		}
	}
	if hook, ok := strings.CutPrefix(text, "#cloud-boothook\n"); ok {
		return []string{hook}, nil
	}
	return nil, []string{text}
}

// goDown ends all that runs on the machine.
func (i *instance) goDown() {
	i.mu.Lock()
	i.down()
	clear(i.services)
	i.mu.Unlock()
	i.processes.Wait()
}

// atStop runs what is to run when the machine stops, and forgets what is in memory.
func (i *instance) atStop() {
	i.mu.Lock()
	stops := i.stops
	i.stops = map[string]string{}
	i.mu.Unlock()
	for name, line := range stops {
		i.serve(i.account.ctx, name, unit{start: line})
	}
	_ = os.RemoveAll(filepath.Join(i.root, "run"))
}

// restart starts the machine again, as a command on it asks for.
func (i *instance) restart() {
	i.mu.Lock()
	gone := i.stopped || i.terminated || i.up.Err() != nil
	i.mu.Unlock()
	if gone {
		return
	}
	i.goDown()
	i.atStop()
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.stopped || i.terminated {
		return
	}
	i.up, i.down = context.WithCancel(i.account.ctx)
	i.running, i.restarted = time.Now(), true
	i.registered = i.running.Add(i.account.cloud.paced().Agent)
	i.active.Go(i.boot)
}

// powerOff ends the machine, as a command on it asks for.
func (i *instance) powerOff() {
	i.mu.Lock()
	gone := i.stopped || i.terminated
	if !gone {
		i.reason = reason("Client.InstanceInitiatedShutdown", "Client.InstanceInitiatedShutdown: Instance initiated shutdown")
	}
	i.mu.Unlock()
	if gone {
		return
	}
	if i.stays {
		i.account.own("StopInstances", i.region, i.id)
	} else {
		i.account.own("TerminateInstances", i.region, i.id)
	}
	i.halt(!i.stays)
}

// Reboot restarts an instance, as an update of its operating system may.
func (c *Cloud) Reboot(instance string) {
	if i := c.account().instance(instance); i != nil {
		i.restart()
	}
}
