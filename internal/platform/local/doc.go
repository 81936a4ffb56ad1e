// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package local is the platform of one machine: images are file trees, and an
// environment is some processes of the service behind one endpoint. Nothing of it
// needs root, a container or a network.
//
// The package runs in the process of whoever uses the platform: the provider, or a
// command. That process bakes images, makes the trees of fleets, and runs install,
// migrate and seed. It starts no service: for that each environment has a supervisor, a
// process of this same binary that outlives the one that launched it. Package supervisor
// is what runs there, and package protocol is all that the two know of each other. What
// is kept of an environment lies in its directory, and what its commands run in lies
// below the work directory, which is in no repository:
//
//	environments/e-1/
//	  environment.json       where it listens, what serves, when it ends
//	  lock                   held while a Platform changes the environment
//	  supervisor.lock        held by the supervisor, and says which process it is
//	  supervisor.log         what happened to fleets and instances
//	  control.sock           where the supervisor takes requests
//	  data/                  PENSTOCK_DATA, shared by the instances, kept by swaps
//	WORK/environments/e-1/
//	  f-1/fleet.json         the fleet without its secrets
//	  f-1/installed/         the image with the artifact installed
//	  f-1/i-0/root/          the copy that an instance works in; log beside it
//
// Variables, secrets among them, go to the supervisor over its socket and are
// kept in its memory only. So a supervisor that died isn't started again by
// itself: Describe reports its environment as gone, and the next Prepare restores
// it with its data and at its port.
//
// The package knows nothing of stages, runs and gates, and isolates nothing: the
// services are processes of the user.
//
//	func main() {
//		process.Guard()
//		supervisor.Main() // does not return in a supervisor
//		platform := local.New(local.Options{Dir: ".penstock", Work: place.Dir})
//		fleet, err := platform.Prepare(ctx, pipeline.FleetRequest{Environment: "e-1", Fleet: "f-1", …})
//		…
//		report, err := platform.Shift(ctx, "e-1", fleet.ID, pipeline.Traffic{})
//	}
package local
