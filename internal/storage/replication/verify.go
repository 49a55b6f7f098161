package replication

import (
	"bytes"
	"context"
	"errors"
	"fmt"
)

// Contents says what came of comparing the contents of a snapshot on the two sides.
type Contents string

// The results.
const (
	// Uncompared: nobody asked for it, or a side cannot.
	Uncompared Contents = "not compared"
	Same       Contents = "same"
	Differ     Contents = "differ"
)

// Comparison is a dataset beside its replica.
type Comparison struct {
	Source, Target string
	// Snapshot is the latest that both have, by its name on the sending side and its GUID; the zero Version is none.
	Snapshot Version
	// Behind counts the snapshots of the job that the replica does not have yet.
	Behind   int
	Contents Contents
	// Problem says what is wrong: nothing in common, a replica that was changed, contents that differ. Empty if nothing is.
	Problem string
	// Note says why contents were not compared, though that was asked for.
	Note string
}

// Verify compares each dataset of the job with its replica: by the GUIDs of their snapshots and, if asked to, the contents of the latest that both have, by
// another way than its stream. It changes nothing, and calls each for every dataset in order. An error is one of looking, or each's.
func Verify(ctx context.Context, j Job, sender Sender, receiver Receiver, contents bool, each func(Comparison) error) error {
	r := Runner{Job: j, Sender: sender, Receiver: receiver}
	if err := j.Check(); err != nil {
		return err
	}
	mine, theirs, err := r.look(ctx)
	if err != nil {
		return err
	}
	for i := range mine.FileSystems {
		s := &mine.FileSystems[i]
		target := j.Target(s.Name)
		if target == "" || !j.included(s.Name) || s.Placeholder {
			continue
		}
		c := j.compare(s, theirs.Find(target), target)
		if contents && c.Snapshot.GUID != 0 {
			if err := r.compareContents(ctx, &c); err != nil {
				return fmt.Errorf("compare %s with %s: %w", c.Source, c.Target, err)
			}
		}
		if err := each(c); err != nil {
			return err
		}
	}
	return nil
}

// compare compares by GUIDs.
func (j Job) compare(s, r *FileSystem, target string) Comparison {
	c := Comparison{Source: s.Name, Target: target, Contents: Uncompared}
	after := uint64(0)
	if r != nil && len(r.Snapshots()) > 0 {
		common, later, ordered := compare(s, r)
		switch {
		case common == nil:
			c.Problem = "it has no snapshot in common with its replica"
		case !ordered:
			c.Problem = "common snapshots have another order on the two sides"
		case diverged(later):
			c.Problem = fmt.Sprintf("the replica has later snapshots of its own: %d", len(later))
		case r.writtenTo():
			c.Problem = fmt.Sprintf("the replica was written to: %d bytes", r.WrittenBytes)
		}
		if common != nil {
			c.Snapshot, after = *common, common.CreateTXG
		}
	}
	for _, v := range s.Versions {
		if j.wants(v) && v.CreateTXG > after {
			c.Behind++
		}
	}
	if c.Snapshot.GUID == 0 && c.Problem == "" && c.Behind > 0 {
		c.Problem = "there is no replica of it yet: none of its snapshots was received whole"
	}
	return c
}

// compareContents compares the latest common snapshot. Where it is only a bookmark on the sending side any more, there is nothing to compare with.
func (r *Runner) compareContents(ctx context.Context, c *Comparison) error {
	if c.Snapshot.Bookmark {
		c.Note = "the snapshot is gone on the sending side"
		return nil
	}
	mine, err := r.Sender.Checksum(ctx, ChecksumRequest{Job: r.Job.ID, FileSystem: c.Source, To: c.Snapshot.GUID})
	if err == nil {
		var theirs []byte
		theirs, err = r.Receiver.Checksum(ctx, ChecksumRequest{Job: r.Job.ID, FileSystem: c.Target, To: c.Snapshot.GUID})
		switch {
		case err != nil:
		case bytes.Equal(mine, theirs):
			c.Contents = Same
		default:
			c.Contents, c.Problem = Differ, "the contents of "+c.Snapshot.Name+" differ"
		}
	}
	if errors.Is(err, ErrUnsupported) {
		c.Note = err.Error()
		return nil
	}
	return err
}
