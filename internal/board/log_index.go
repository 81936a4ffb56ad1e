// Copyright (c) Penstock contributors
// SPDX-License-Identifier: MPL-2.0

package board

import (
	"bytes"
	"io"
	"slices"
	"sync"
)

const (
	// markEvery is how many lines lie between two places that an index remembers.
	markEvery = 512
	// keptIndexes is how many logs have an index at a time.
	keptIndexes = 128
)

// logIndexes are the indexes of the logs that were looked at last.
type logIndexes struct {
	mu    sync.Mutex
	byRun map[string]*logIndex
	order []string // the last used at the end
}

func newLogIndexes() *logIndexes { return &logIndexes{byRun: map[string]*logIndex{}} }

// of returns the index of the log of a run.
func (l *logIndexes) of(run string) *logIndex {
	l.mu.Lock()
	defer l.mu.Unlock()
	ix := l.byRun[run]
	if ix == nil {
		ix = &logIndex{marks: []int64{0}}
		l.byRun[run] = ix
	} else {
		l.order = slices.DeleteFunc(l.order, func(other string) bool { return other == run })
	}
	if l.order = append(l.order, run); len(l.order) > keptIndexes {
		delete(l.byRun, l.order[0])
		l.order = slices.Clone(l.order[1:])
	}
	return ix
}

// logIndex knows where in a log every so many lines begin, so that of a log of a million lines
// only those are read that are shown. A log is read once to make it; afterwards only what was
// added. It is safe for concurrent use.
type logIndex struct {
	mu    sync.Mutex
	marks []int64 // where the lines 1, 1+markEvery, … begin
	lines int     // that have an end
	end   int64   // of the last of them
	size  int64   // that was read
}

// logSize is how long a log is.
type logSize struct {
	lines int   // that have an end
	end   int64 // of the last of them
	size  int64 // with a line that has no end yet
}

// update reads what was added to the log.
func (ix *logIndex) update(log io.ReadSeeker) (logSize, error) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	size, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return logSize{}, err
	}
	if size < ix.size { // another log
		ix.marks, ix.lines, ix.end, ix.size = []int64{0}, 0, 0, 0
	}
	if size > ix.size {
		if _, err := log.Seek(ix.size, io.SeekStart); err != nil {
			return logSize{}, err
		}
		err = ix.read(io.LimitReader(log, size-ix.size))
	}
	return logSize{ix.lines, ix.end, ix.size}, err
}

// read takes in what follows.
func (ix *logIndex) read(log io.Reader) error {
	buffer := make([]byte, 64<<10)
	for {
		n, err := log.Read(buffer)
		part := buffer[:n]
		if last := bytes.LastIndexByte(part, '\n'); last >= 0 {
			ix.end = ix.size + int64(last) + 1
		}
		for at := ix.size; ; {
			begun := len(ix.marks) * markEvery // lines before the next mark
			count := bytes.Count(part, []byte("\n"))
			if ix.lines+count < begun {
				ix.lines += count
				break
			}
			for ; ix.lines < begun; ix.lines++ {
				next := bytes.IndexByte(part, '\n') + 1
				part, at = part[next:], at+int64(next)
			}
			ix.marks = append(ix.marks, at)
		}
		ix.size += int64(n)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// before returns the last place that the index knows of at or before a line, and the number
// of the line that begins there.
func (ix *logIndex) before(line int) (offset int64, number int) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	i := min(max(line-1, 0)/markEvery, len(ix.marks)-1)
	return ix.marks[i], i*markEvery + 1
}

// beforeOffset is before for the line that has an offset.
func (ix *logIndex) beforeOffset(at int64) (offset int64, number int) {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	i, found := slices.BinarySearch(ix.marks, at)
	if !found {
		i--
	}
	return ix.marks[i], i*markEvery + 1
}
