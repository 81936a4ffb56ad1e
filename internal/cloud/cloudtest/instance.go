// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package cloudtest

import (
	"context"
	"encoding/base64"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/process"
)

// instance is the body of an EC2 instance: a directory that stands for the root of
// its file system, and processes.
type instance struct {
	key      string // of KMS, that encrypts its root volume
	account  *account
	id       string
	root     string
	address  string // on loopback
	userData string

	mu         sync.Mutex
	running    time.Time // from when on it is running
	registered time.Time // from when on its agent answers
	stopped    bool
	draining   bool
	terminated bool
	reason     string // element that says why it ended by itself
	booted     bool
	services   map[string]context.CancelFunc
	stops      map[string]string // what runs when the machine stops, by unit
	active     sync.WaitGroup
}

// shim is systemctl on an instance: the test cloud does what it says, as a service
// outlives the command that starts it.
const shim = `#!/bin/sh
exec curl -fsS -X POST --data-urlencode "args=$*" "$CLOUDTEST_SYSTEMCTL"
`

const systemctlPath = "/cloudtest/systemctl/"

// launched makes the body of a new instance. Its files come from its image.
func (a *account) launched(id, imageID, userData string) *instance {
	pace := a.cloud.paced()
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	n := h.Sum32()
	i := &instance{
		account: a, id: id, root: filepath.Join(a.dir, "instances", id), services: map[string]context.CancelFunc{}, stops: map[string]string{},
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
	if other := a.sharedBy(imageID); other != nil {
		files = other.dir
	}
	if err := i.install(filepath.Join(files, "images", imageID)); err != nil {
		a.cloud.logf("make the files of instance %s: %v", id, err)
	}
	i.active.Go(func() { i.boot(a.ctx) })
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
		if err := os.CopyFS(i.root, os.DirFS(image)); err != nil {
			return err
		}
	}
	bin := filepath.Join(i.root, ".bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(bin, "systemctl"), []byte(shim), 0o755); err != nil {
		return err
	}
	journal := "#!/bin/sh\ntail -n 20 \"$PENSTOCK_SYSROOT/.bin/$2.log\"\n"
	if err := os.WriteFile(filepath.Join(bin, "journalctl"), []byte(journal), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(bin, "cloud-init"), []byte(cloudInit), 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(bin, "shutdown"), []byte("#!/bin/sh\nexit 0\n"), 0o755)
}

// bootedFile is there when the user data has run.
const bootedFile = "run/cloud-init/result.json"

// cloudInit is cloud-init on an instance.
const cloudInit = `#!/bin/sh
if [ "$1" = status ]; then while [ ! -e "$PENSTOCK_SYSROOT/` + bootedFile + `" ]; do sleep 0.05; done; fi
`

// boot does what happens when an instance starts: enabled services start, and the
// first time the user data runs.
func (i *instance) boot(ctx context.Context) {
	i.mu.Lock()
	wait, first := time.Until(i.running), !i.booted
	i.booted = true
	i.mu.Unlock()
	select {
	case <-ctx.Done():
		return
	case <-time.After(wait):
	}
	if first && strings.HasPrefix(i.userData, "#!") {
		script := filepath.Join(i.root, ".bin", "user-data")
		log, err := os.Create(filepath.Join(i.root, ".bin", "user-data.log"))
		if err != nil || os.WriteFile(script, []byte(i.userData), 0o755) != nil {
			return
		}
		defer log.Close()
		if p, err := process.Start(ctx, process.Spec{Args: []string{script}, Dir: i.root, Env: i.environ(), Stdout: log, Stderr: log}); err == nil {
			_, _ = p.Wait()
		}
	}
	if err := os.MkdirAll(filepath.Dir(filepath.Join(i.root, bootedFile)), 0o755); err != nil {
		return
	}
	if err := os.WriteFile(filepath.Join(i.root, bootedFile), []byte("{}"), 0o644); err != nil {
		return
	}
	enabled, _ := os.ReadDir(filepath.Join(i.root, "etc/systemd/system/multi-user.target.wants"))
	for _, unit := range enabled {
		i.start(strings.TrimSuffix(unit.Name(), ".service"))
	}
}

func (i *instance) environ() []string {
	return []string{
		"PATH=" + filepath.Join(i.root, ".bin") + ":" + os.Getenv("PATH"), "HOME=" + i.root, "LANG=C.UTF-8", "PENSTOCK_SYSROOT=" + i.root,
		"PENSTOCK_HOST=" + i.address, "CLOUDTEST_SYSTEMCTL=" + i.account.server.url + systemctlPath + i.account.cloud.ID + "/" + i.id,
	}
}

// fail ends an instance that EC2 could not start.
func (i *instance) fail(code, message string) {
	i.mu.Lock()
	i.reason = "<stateReason><code>" + code + "</code><message>" + message + "</message></stateReason>"
	i.mu.Unlock()
	i.halt(true)
}

func (i *instance) why() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.reason
}

// systemctl serves the shim.
func (s *server) systemctl(w http.ResponseWriter, r *http.Request) {
	id := strings.Split(strings.TrimPrefix(r.URL.Path, systemctlPath), "/")
	s.mu.Lock()
	a := s.accounts[id[0]]
	s.mu.Unlock()
	var i *instance
	if a != nil && len(id) == 2 {
		i = a.instance(id[1])
	}
	args := strings.Fields(r.FormValue("args"))
	if i == nil || len(args) == 0 {
		http.Error(w, "no such instance", http.StatusNotFound)
		return
	}
	if err := i.control(args[0], args[1:]); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = io.WriteString(w, "")
}

// control is the part of systemctl that the tests need.
func (i *instance) control(verb string, args []string) error {
	now := false
	var units []string
	for _, arg := range args {
		switch {
		case arg == "--now":
			now = true
		case !strings.HasPrefix(arg, "-"):
			units = append(units, strings.TrimSuffix(arg, ".service"))
		}
	}
	wants := filepath.Join(i.root, "etc/systemd/system/multi-user.target.wants")
	for _, unit := range units {
		link := filepath.Join(wants, unit+".service")
		switch verb {
		case "enable":
			if err := os.MkdirAll(wants, 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(link, nil, 0o644); err != nil {
				return err
			}
			if now {
				i.start(unit)
			}
		case "disable":
			_ = os.Remove(link)
			if now {
				i.stop(unit)
			}
		case "start":
			i.start(unit)
		case "restart":
			i.stop(unit)
			i.start(unit)
		case "stop":
			i.stop(unit)
		default:
			return fmt.Errorf("the test cloud's systemctl has no %s", verb)
		}
	}
	return nil
}

// start starts a service from the ExecStart of its unit, and again when it ends. The
// ExecStop of one that has nothing else runs when the machine stops.
func (i *instance) start(unit string) {
	var line, stop string
	for _, dir := range []string{"etc", "run"} {
		text, err := os.ReadFile(filepath.Join(i.root, dir, "systemd/system", unit+".service"))
		if err != nil {
			continue
		}
		for l := range strings.Lines(strings.ReplaceAll(string(text), "${PENSTOCK_SYSROOT}", i.root)) {
			if command, ok := strings.CutPrefix(strings.TrimSpace(l), "ExecStart="); ok {
				line = command
			}
			if command, ok := strings.CutPrefix(strings.TrimSpace(l), "ExecStop="); ok {
				stop = command
			}
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if line == "" && stop != "" {
		i.stops[unit] = stop
	}
	if _, runs := i.services[unit]; runs || line == "" || i.terminated || i.stopped {
		return
	}
	ctx, cancel := context.WithCancel(i.account.ctx)
	i.services[unit] = cancel
	i.active.Go(func() {
		for ctx.Err() == nil {
			i.serve(ctx, unit, line)
			select {
			case <-ctx.Done():
			case <-time.After(200 * time.Millisecond):
			}
		}
	})
}

func (i *instance) serve(ctx context.Context, unit, line string) {
	log, err := os.OpenFile(filepath.Join(i.root, ".bin", unit+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return
	}
	defer log.Close()
	p, err := process.Start(ctx, process.Spec{Args: strings.Fields(line), Dir: i.root, Env: i.environ(), Stdout: log, Stderr: log, Grace: time.Second})
	if err == nil {
		_, _ = p.Wait()
	}
}

func (i *instance) stop(unit string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if cancel, ok := i.services[unit]; ok {
		cancel()
		delete(i.services, unit)
	}
}

// halt ends the instance's processes, and what is in memory; with for ever its files
// go, too.
func (i *instance) halt(forever bool) {
	i.mu.Lock()
	i.stopped, i.terminated = true, i.terminated || forever
	for unit, cancel := range i.services {
		cancel()
		delete(i.services, unit)
	}
	i.mu.Unlock()
	i.account.interrupt(i.id)
	i.wait()
	if forever {
		_ = os.RemoveAll(i.root)
		return
	}
	i.mu.Lock()
	stops := i.stops
	i.stops = map[string]string{}
	i.mu.Unlock()
	for unit, line := range stops {
		i.serve(i.account.ctx, unit, line)
	}
	_ = os.RemoveAll(filepath.Join(i.root, "run"))
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
	return !i.terminated && !i.stopped && !time.Now().Before(i.registered)
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
