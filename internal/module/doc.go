// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package module makes the infrastructure of environments with Terraform or OpenTofu: it
// implements the port Modules of package pipeline.
//
// A module is packed once, when its build is made: its files, the modules that it refers to,
// and the versions of its providers, in one archive. From then on neither git nor a registry
// of modules is needed, and every environment gets the same. The package is applied as a root
// module, in a directory of its own, with a state of its own.
//
// What is kept of an environment is its site, in a Store: the state, what was applied last,
// what serves, and the tokens of the leases that were shown. It is written before the first
// resource is made, and whenever Terraform's state has changed. Whoever has an older token
// can't write any more, and ends what it does.
//
// Terraform itself keeps its state in a file of the working directory. It is started so that
// it survives Penstock: it is asked to end, once, and ends when it has written down what it
// made. The next change on the machine waits for it, and takes its state over. So what exists
// is known, whatever is killed; except that a Terraform that is killed itself may lose what it
// was making at that moment, and that of a machine that is gone the last second is.
//
// The package does not know what environments are for, when they are made, or what becomes of
// their outputs. It moves nothing by itself.
//
//	modules := module.New(module.Config{Dir: dir, Store: module.NewDirStore(states)})
//	err := modules.Pack(ctx, pipeline.PackRequest{Module: m, Checkout: checkout, Out: file})
//	…
//	out, err := modules.Under(lease.Fence()).Apply(ctx, pipeline.ModuleRequest{Environment: "e-1", Package: file, Facts: facts})
//	…
//	err = modules.Keep(ctx, "e-1")
//
// What a package has: all files of the module's directory, terraform.tfvars and *.auto.tfvars
// among them, as they are the module's own values; the directories of the local modules that
// it refers to; what it refers to elsewhere, downloaded; and the lock file. A lock file that is
// committed counts, and has to fit. Without one, Pack takes the newest versions that the
// module allows, and downloads them each time. States, plans, .git and .terraform stay behind.
//
// A backend or cloud block does not count. A module can't have pipelines of its own, nor
// encrypt its state by OpenTofu's means.
package module
