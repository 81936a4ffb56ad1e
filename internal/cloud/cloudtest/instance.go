// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"context"
	"encoding/base64"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// instance is the body of an EC2 instance: a directory that stands for the root of
// its file system, and processes.
type instance struct {
	key      string // of KMS, that encrypts its root volume; empty for the default
	encrypts bool   // its root volume is encrypted
	account  *account
	id       string
	region   string
	image    string // that it was launched from
	root     string
	address  string // on loopback
	userData string
	stays    bool // a power-off from inside stops it, and does not terminate it

	mu         sync.Mutex
	up         context.Context // of what runs on it, until it goes down
	down       context.CancelFunc
	running    time.Time // from when on it is running
	registered time.Time // from when on its agent answers
	stopped    bool
	draining   bool
	terminated bool
	reason     string // element that says why it ended by itself
	booted     bool
	restarted  bool                          // since it was started last
	services   map[string]context.CancelFunc // also timers, and a shutdown to come, by name
	stops      map[string]string             // what runs when the machine stops, by unit
	active     sync.WaitGroup
	processes  sync.WaitGroup // what of it ends when the machine goes down
}

// launched makes the body of a new instance. Its files come from its image.
// One that stays is stopped, and not terminated, by a power-off from inside.
func (a *account) launched(region, id, imageID, userData string, stays bool) *instance {
	pace := a.cloud.paced()
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	n := h.Sum32()
	i := &instance{
		account: a, id: id, region: region, image: imageID, stays: stays, root: filepath.Join(a.dir, "instances", id), services: map[string]context.CancelFunc{}, stops: map[string]string{},
		address: fmt.Sprintf("127.%d.%d.%d", 16+n%100, n>>8%250, 1+n>>16%250),
		running: time.Now().Add(pace.Boot), registered: time.Now().Add(pace.Boot + pace.Agent),
	}
	if text, err := base64.StdEncoding.DecodeString(userData); err == nil {
		i.userData = string(text)
	}
	a.mu.Lock()
	a.instances[id] = i
	a.mu.Unlock()
	files := a.dir
	if other := a.sharedBy("", imageID); other != nil {
		files = other.dir
	}
	if err := i.install(filepath.Join(files, "images", imageID)); err != nil {
		a.cloud.logf("make the files of instance %s: %v", id, err)
	}
	i.up, i.down = context.WithCancel(a.ctx)
	i.active.Go(i.boot)
	return i
}

func (c *Cloud) paced() Pace {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pace
}

// install copies the files of the image, if it has any, and adds the shims.
func (i *instance) install(image string) error {
	if _, err := os.Stat(image); err == nil {
		if err := copyFiles(i.root, image); err != nil {
			return err
		}
	}
	bin := filepath.Join(i.root, ".bin")
	for _, dir := range []string{bin, filepath.Join(i.root, "root")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for _, name := range []string{"systemctl", "shutdown", "reboot", "poweroff"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(strings.ReplaceAll(shim, "NAME", name)), 0o755); err != nil {
			return err
		}
	}
	journal := "#!/bin/sh\ntail -n 20 \"$PENSTOCK_SYSROOT/.bin/$2.log\"\n"
	if err := os.WriteFile(filepath.Join(bin, "journalctl"), []byte(journal), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(bin, "cloud-init"), []byte(cloudInit), 0o755); err != nil {
		return err
	}
	if err := i.addUsers(); err != nil {
		return err
	}
	i.account.cloud.mu.Lock()
	defer i.account.cloud.mu.Unlock()
	for _, program := range i.account.cloud.without {
		_ = os.Remove(filepath.Join(bin, program))
	}
	return nil
}

// Without makes instances from now on lack programs.
func (c *Cloud) Without(programs ...string) {
	dir := filepath.Join(c.account().dir, "programs")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		c.t.Fatal(err)
	}
	for _, from := range filepath.SplitList(os.Getenv("PATH")) {
		list, _ := os.ReadDir(from)
		for _, program := range list {
			if !slices.Contains(programs, program.Name()) {
				_ = os.Symlink(filepath.Join(from, program.Name()), filepath.Join(dir, program.Name()))
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.programs, c.without = dir, programs
}

// environ is what a process has on an instance. The agent of SSM, cloud-init and systemd's
// services of root have neither HOME nor USER nor LANG.
func (i *instance) environ() []string {
	programs := os.Getenv("PATH")
	i.account.cloud.mu.Lock()
	if own := i.account.cloud.programs; own != "" {
		programs = own
	}
	i.account.cloud.mu.Unlock()
	return []string{
		"PATH=" + filepath.Join(i.root, ".bin") + ":" + programs, "PENSTOCK_SYSROOT=" + i.root,
		"PENSTOCK_HOST=" + i.address, "CLOUDTEST_SYSTEMD=" + i.account.server.url + systemdPath + i.account.cloud.ID + "/" + i.id,
	}
}

// fail ends an instance that EC2 could not start.
func (i *instance) fail(code, message string) {
	i.mu.Lock()
	i.reason = reason(code, message)
	i.mu.Unlock()
	i.halt(true)
}

func reason(code, message string) string {
	return "<stateReason><code>" + code + "</code><message>" + message + "</message></stateReason>"
}

func (i *instance) why() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.reason
}

// halt ends the instance's processes, and what is in memory; with for ever its files
// go, too.
func (i *instance) halt(forever bool) {
	i.mu.Lock()
	i.stopped, i.terminated = true, i.terminated || forever
	i.mu.Unlock()
	i.account.interrupt(i.id)
	i.goDown()
	i.wait()
	if forever {
		_ = os.RemoveAll(i.root)
		return
	}
	i.atStop()
}

// drain takes the instance from the load balancers, and returns what it has begun a
// moment to end.
func (i *instance) drain() {
	i.mu.Lock()
	i.draining = true
	i.mu.Unlock()
	select {
	case <-i.account.ctx.Done():
	case <-time.After(drainTime):
	}
}

// drainTime is how long an instance that is taken from its load balancers may still
// answer what it has begun.
const drainTime = 300 * time.Millisecond

func (i *instance) drains() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.draining
}

func (i *instance) wait() { i.active.Wait() }

// state returns the name of the instance's state while it starts; empty where moto is right.
func (i *instance) state() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.terminated && !i.stopped && time.Now().Before(i.running) {
		return "pending"
	}
	return ""
}

// answers reports whether the instance's agent takes commands.
func (i *instance) answers() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return !i.terminated && !i.stopped && i.up.Err() == nil && !time.Now().Before(i.registered)
}

func (i *instance) gone() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.terminated
}

// known reports whether SSM takes commands for the instance: its agent has registered, also
// before a restart that it is in.
func (i *instance) known() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return !i.terminated && !i.stopped && (i.restarted || !time.Now().Before(i.registered))
}

func (a *account) instance(id string) *instance {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.instances[id]
}

// launched returns from when on the instance runs.
func (i *instance) launched() time.Time {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.running
}
