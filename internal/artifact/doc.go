// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

// Package artifact keeps what runs leave behind on this machine: distributions,
// stored by the SHA-256 of their content (Store), and logs (Logs). It also packs a
// directory into an archive and unpacks one without trusting it (Pack, Unpack).
//
// It does not decide what is kept or collected, and knows nothing of builds: the
// engine does. It never runs anything that it stores.
//
//	store := artifact.NewStore(filepath.Join(dataDir, "artifacts"))
//	record, err := store.Put(ctx, "dist/shop.tar.gz")
//	if err != nil {
//		return err
//	}
//	path, err := store.Get(ctx, record) // verified
package artifact
