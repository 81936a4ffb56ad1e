// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package pipeline

// Comparison is what lies between two commits.
type Comparison struct {
	Ahead  []Revision   `json:"ahead"`         // commits that the second has and the first has not, the newest first
	Behind []Revision   `json:"behind"`        // the reverse: what a rollback takes back
	Files  []FileChange `json:"files"`         // that differ, by path
	Cut    bool         `json:"cut,omitempty"` // there are more commits or files than are listed
}

// FileChange is a file that differs between two commits.
type FileChange struct {
	Path      string `json:"path"`
	Component string `json:"component,omitempty"` // or "ignored"; empty if it is not known which paths belong to which
	Added     int    `json:"added"`               // lines; both are zero for a file that is no text
	Removed   int    `json:"removed"`
	Change    string `json:"change,omitempty"` // of the file: added, changed or removed
}

// How a file changed.
const (
	FileAdded   = "added"
	FileChanged = "changed"
	FileRemoved = "removed"
)
