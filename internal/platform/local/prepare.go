// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/penstock-io/terraform-provider-penstock/internal/pipeline"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/filetree"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/protocol"
	"github.com/penstock-io/terraform-provider-penstock/internal/platform/local/store"
	"github.com/penstock-io/terraform-provider-penstock/internal/runlog"
	"github.com/penstock-io/terraform-provider-penstock/internal/workplace"
)

// patience is how long a supervisor that does not answer is asked again before
// the launch fails.
const patience = 10 * time.Second

// Prepare brings up a fleet. Its trees are made, and install and the hooks run, in
// this process; then the supervisor starts the instances.
func (p *Platform) Prepare(ctx context.Context, r pipeline.FleetRequest) (pipeline.Fleet, error) {
	r, err := completed(r)
	if err != nil {
		return pipeline.Fleet{}, err
	}
	if len(r.ExtraGroups)+len(r.Subnets)+len(r.TargetGroups) > 0 && r.Log != nil {
		_, _ = io.WriteString(r.Log, "note: what the module's output \"instance\" names belongs to AWS, and has no effect here\n") // a log that can't be written fails nothing
	}
	if err := p.linkImages(); err != nil {
		return pipeline.Fleet{}, protocol.Coded(ctx, protocol.OpPrepare, err)
	}
	e, err := p.lock(ctx, protocol.OpPrepare, r.Environment, true)
	if err != nil {
		return pipeline.Fleet{}, protocol.Coded(ctx, protocol.OpPrepare, err)
	}
	defer e.unlock()
	endpoint, err := e.prepare(ctx, r)
	if err != nil {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanLimit)
		defer cancel()
		if err := e.drop(clean, r.Fleet); err != nil {
			p.Logger.Warn("clear away failed fleet", "environment", r.Environment, "fleet", r.Fleet, "error", err)
		}
		return pipeline.Fleet{}, protocol.Coded(ctx, protocol.OpPrepare, err)
	}
	return pipeline.Fleet{ID: r.Fleet, Endpoint: endpoint}, nil
}

// completed checks a request and fills in what it leaves open.
func completed(r pipeline.FleetRequest) (pipeline.FleetRequest, error) {
	if err := errors.Join(checkID(protocol.OpPrepare, "environment", r.Environment), checkID(protocol.OpPrepare, "fleet", r.Fleet)); err != nil {
		return r, err
	}
	if r.Address == "" {
		r.Address = protocol.Loopback
	}
	if r.DrainTimeout <= 0 {
		r.DrainTimeout = pipeline.DefaultDrainTimeout
	}
	invalid := func(hint, format string, args ...any) error {
		return pipeline.Errorf(pipeline.CodeInvalid, protocol.OpPrepare, format, args...).WithHint("%s", hint)
	}
	switch {
	case r.Instances < 1:
		return r, invalid("Set instances to 1 or more.", "instances %d is less than 1", r.Instances)
	case r.Port < 0 || r.Port > 65535:
		return r, invalid("Set port to a number from 1 to 65535, or leave it out for any free one.", "port %d is out of range", r.Port)
	case net.ParseIP(r.Address) == nil && r.Address != "localhost":
		return r, invalid("Set address to one of this machine's, or leave it out for loopback.", "address %q is not an IP address", r.Address)
	case r.Service.Protocol != "" && r.Service.Protocol != pipeline.ProtocolH2C:
		return r, invalid("Set service.protocol to \"h2c\", or leave it out for HTTP/1.1.", "service.protocol %q is not known", r.Service.Protocol)
	case r.Service.Start == "":
		return r, invalid("Set service.start on the pipeline.", "service.start is not set, so there is nothing to launch")
	}
	if _, err := pipeline.ParseProxies(r.TrustedProxies); err != nil {
		return r, invalid(hintProxies, "trusted_proxies: %v", err)
	}
	return r, nil
}

// prepare returns the endpoint of the fleet that it brought up.
func (e *environment) prepare(ctx context.Context, r pipeline.FleetRequest) (endpoint string, err error) {
	now, alive, err := e.look(ctx)
	if err != nil {
		return "", err
	}
	if f := now.Fleets[r.Fleet]; f.Ready {
		return f.Endpoint, nil
	}
	if alive {
		err = e.discardOthers(ctx, now)
	} else {
		err = e.clear(ctx)
	}
	if err != nil {
		return "", err
	}
	rec, err := protocol.ReadRecord(e.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err := checkPort(rec, alive, r); err != nil {
		return "", err
	}
	switch err = nil; {
	case !alive:
		rec.ID, rec.ExpiresAt, rec.Serving = e.id, r.ExpiresAt, ""
		err = protocol.WriteRecord(e.dir, rec)
	case now.Report.Serving == "": // of a launch that nobody finished
		err = e.client.ask(ctx, "PUT", protocol.PathExpiry, protocol.ExpiryMessage{Change: e.client.change(), At: r.ExpiresAt}, nil)
	}
	if err != nil {
		return "", err
	}
	v := withOwn(protocol.Variables{Env: apart(e.fleets)}, r.Env, r.Secrets)
	v.Env = append(v.Env, "PENSTOCK_ENVIRONMENT="+e.id, "PENSTOCK_DATA="+filepath.Join(e.dir, protocol.DataDir))
	if err := e.build(ctx, r, v, rec); err != nil {
		return "", err
	}
	return e.launch(ctx, r, v)
}

// launch has the supervisor start the fleet. It is looked for again, as one without
// a fleet may have ended during a long installation.
func (e *environment) launch(ctx context.Context, r pipeline.FleetRequest, v protocol.Variables) (endpoint string, err error) {
	_, alive, err := e.look(ctx)
	if err == nil && !alive {
		err = e.client.begin(ctx, e.Executable)
	}
	if err != nil {
		return "", err
	}
	var f protocol.FleetStatus
	err = e.client.ask(ctx, "PUT", protocol.PathFleets+r.Fleet, protocol.FleetMessage{Change: e.client.change(), Variables: v}, &f)
	if errors.Is(err, errNoSupervisor) && ctx.Err() == nil {
		return "", pipeline.Errorf(pipeline.CodeFailed, protocol.OpPrepare, "%s",
			runlog.Saying(fmt.Sprintf("the supervisor ended while the fleet started (%v)", err), protocol.LastLines(filepath.Join(e.dir, protocol.SuperviseLog), protocol.DescribeLines))).
			WithHint("Apply again.")
	}
	return f.Endpoint, err
}

// look finds out whether the environment has a supervisor, and what it says. One
// that ends is awaited.
func (e *environment) look(ctx context.Context) (s protocol.Status, alive bool, err error) {
	s, alive, err = e.client.look(ctx, patience)
	if err != nil || !s.Ending {
		return s, alive, err
	}
	return protocol.Status{}, false, e.client.awaitEnd(ctx)
}

// discardOthers removes the fleets of launches that nobody finished.
func (e *environment) discardOthers(ctx context.Context, now protocol.Status) error {
	for id := range now.Fleets {
		if id != now.Report.Serving {
			if err := e.client.ask(ctx, "DELETE", protocol.PathFleets+id, e.client.change(), nil); err != nil {
				return err
			}
		}
	}
	left, err := names(e.fleets)
	for _, id := range left {
		if id != now.Report.Serving {
			err = errors.Join(err, workplace.RemoveTree(filepath.Join(e.fleets, id)))
		}
	}
	return err
}

// clear removes what a supervisor that is gone left: all of it, but for the record
// and the data of an environment that has any and whose time is not over.
func (e *environment) clear(ctx context.Context) error {
	if err := e.client.endOrphans(ctx); err != nil {
		return err
	}
	rec, err := protocol.ReadRecord(e.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err = workplace.RemoveTree(e.fleets)
	if !rec.Populated || e.over(rec) {
		err = errors.Join(err, workplace.RemoveTree(filepath.Join(e.dir, protocol.DataDir)), os.RemoveAll(filepath.Join(e.dir, protocol.RecordFile)))
	}
	return err
}

// over reports whether the environment's time is over.
func (p *Platform) over(r protocol.Record) bool {
	return r.Expired || !r.ExpiresAt.IsZero() && !p.Now().Before(r.ExpiresAt)
}

// checkPort finds out early whether the endpoint will be able to listen.
func checkPort(rec protocol.Record, alive bool, r pipeline.FleetRequest) error {
	port := r.Port
	if port == 0 {
		port = rec.Port
	}
	if port == 0 || alive && rec.Port == port {
		return nil
	}
	if err := protocol.Available(r.Address, port); err != nil {
		return protocol.PortError(pipeline.CodeInvalid, protocol.OpPrepare, r.Address, port, r.Port != 0, err)
	}
	return nil
}

// build makes the fleet's trees and the environment's data.
func (e *environment) build(ctx context.Context, r pipeline.FleetRequest, v protocol.Variables, rec protocol.Record) error {
	fleet := protocol.FleetRecord{
		ID: r.Fleet, Image: r.Image, Installed: r.Artifact != "" && r.Service.Install != "", Instances: r.Instances,
		Address: r.Address, Port: r.Port, Service: r.Service, DrainTimeout: r.DrainTimeout,
		TrustedProxies: r.TrustedProxies,
	}
	dir := filepath.Join(e.fleets, r.Fleet)
	if err := workplace.RemoveTree(dir); err != nil {
		return err
	}
	if err := protocol.WriteFleet(e.fleets, fleet); err != nil { // from here on the image is in use
		return err
	}
	if fleet.Installed {
		if err := e.install(ctx, r, v, filepath.Join(dir, protocol.InstalledDir)); err != nil {
			return err
		}
	}
	fresh := !rec.Populated
	if fresh {
		if err := e.makeData(ctx, r.DataFrom); err != nil {
			return err
		}
	}
	hooks := slices.DeleteFunc(slices.Clone(r.Hooks), func(h pipeline.Hook) bool { return h.Once && !fresh })
	if len(hooks) > 0 {
		root, err := filetree.MakeRoot(ctx, e.store, dir, fleet, "i-0")
		if err != nil {
			return err
		}
		do := command{dir: root, env: append(v.Env[:len(v.Env):len(v.Env)], "PENSTOCK_ROOT="+root), secrets: v.Secrets}
		for _, h := range hooks {
			if err := h.Run(ctx, e.hook(do, h, r.Log)); err != nil {
				return err
			}
		}
	}
	if fresh {
		rec.Populated = true
		return protocol.WriteRecord(e.dir, rec)
	}
	return nil
}

// hook returns what runs a hook in the place of a command.
func (e *environment) hook(at command, h pipeline.Hook, log io.Writer) pipeline.HookFunc {
	return func(ctx context.Context) (string, error) {
		v := withOwn(protocol.Variables{Env: at.env, Secrets: at.secrets}, h.Env, h.Secrets)
		at.what, at.line, at.timeout, at.env, at.secrets = h.Name, h.Line, h.Timeout, v.Env, v.Secrets
		if h.From != "" {
			if err := checkID(protocol.OpPrepare, "environment", h.From); err != nil {
				return "", err
			}
			at.env = append(at.env, "PENSTOCK_FROM_DATA="+filepath.Join(e.Platform.dir(h.From), protocol.DataDir))
		}
		printed, err := at.must(ctx, log)
		return pipeline.LastLine(strings.Join(printed, "\n")), err
	}
}

// install makes the tree that all instances of the fleet are copied from, and
// that an image of the environment holds.
func (e *environment) install(ctx context.Context, r pipeline.FleetRequest, v protocol.Variables, tree string) error {
	if _, err := os.Stat(r.Artifact); err != nil {
		return pipeline.Errorf(pipeline.CodeNotFound, "install artifact", "%w", err).
			WithHint("Run the commit stage again to make the artifact.")
	}
	if err := filetree.Make(ctx, e.store, r.Image, tree, store.Options{}); err != nil {
		return err
	}
	_, err := command{
		what: "service.install", line: r.Service.Install, dir: tree, secrets: v.Secrets,
		env: append(v.Env[:len(v.Env):len(v.Env)], "PENSTOCK_ARTIFACT="+r.Artifact, "PENSTOCK_ROOT="+tree),
	}.must(ctx, r.Log)
	return err
}

// makeData makes the data of a new environment, a copy of another's where one is
// named. The other goes on while its data is copied, so the copy is as good as
// what a crash would have left it with.
func (e *environment) makeData(ctx context.Context, from string) error {
	data := filepath.Join(e.dir, protocol.DataDir)
	if err := workplace.RemoveTree(data); err != nil {
		return err
	}
	if from == "" {
		return os.Mkdir(data, 0o700)
	}
	if err := checkID(protocol.OpPrepare, "environment", from); err != nil {
		return err
	}
	source := filepath.Join(e.Platform.dir(from), protocol.DataDir)
	if !exists(source) {
		return pipeline.Errorf(pipeline.CodeNotFound, "copy data", "environment %s has no data on this machine", from).
			WithHint("Restore that environment first, or change data_from.")
	}
	return filetree.Copy(ctx, source, data)
}
