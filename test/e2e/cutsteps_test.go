package e2e

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	configv1 "github.com/cyvive/cyvive/api/proto/config/v1"
	"github.com/cyvive/cyvive/hack/qemu/vm"
)

// rehearse does something without a cut, and measures its course.
func (n *cutNode) rehearse(t *testing.T, ctx context.Context, c course, console *vm.Console, do func() error) course {
	t.Helper()
	type result struct {
		measured course
		err      error
	}
	over, done := make(chan struct{}), make(chan result, 1)
	go func() {
		measured, err := c.measure(ctx, console, over)
		done <- result{measured, err}
	}()
	err := do()
	close(over)
	r := <-done
	if err := errors.Join(err, r.err); err != nil {
		t.Fatal(err)
	}
	t.Logf("without a cut: %s", r.measured)
	return r.measured
}

// until does something on the node until the power is cut at a moment of its course, and returns how it ended.
func (n *cutNode) until(t *testing.T, ctx context.Context, m moment, do func(context.Context) error) error {
	t.Helper()
	console := machine(t, n.Cluster, n.node).Console()
	calling, hangUp := context.WithCancel(ctx)
	defer hangUp()
	var ended error
	over := make(chan struct{})
	go func() {
		defer close(over)
		ended = do(calling)
	}()
	err := m.reach(ctx, console, over)
	failed := early(over, &ended)
	if err == nil {
		n.cut(t, ctx, m.String())
	}
	if failed != nil {
		t.Errorf("cut %d found nothing to cut: the call had failed before it: %v", n.cuts, failed)
	}
	hangUp()
	<-over
	if err != nil {
		t.Fatalf("%v; the call ended with %v", err, ended)
	}
	return ended
}

// early is what a call has failed with that is over; nil for one that goes on.
func early(over <-chan struct{}, ended *error) error {
	select {
	case <-over:
		return *ended
	default:
		return nil
	}
}

func TestEarly(t *testing.T) {
	ended, over := errors.New("refused"), make(chan struct{})
	if err := early(over, &ended); err != nil {
		t.Errorf("while it goes on: %v", err)
	}
	close(over)
	if err := early(over, &ended); err == nil {
		t.Error("a call that has failed is taken for one that is cut")
	}
	ended = nil
	if err := early(over, &ended); err != nil {
		t.Errorf("when it has succeeded: %v", err)
	}
}

// changeNumber is what changes of the configuration differ in, of those that the test makes.
var changeNumber = regexp.MustCompile(`cut-(\d+)\.example`)

// configuration is the node's document, and the number of its change, 0 where it has none.
func (n *cutNode) configuration(t *testing.T, ctx context.Context) (document string, number int) {
	t.Helper()
	var got configv1.GetResponse
	ask(t, ctx, n.suite, &got, "config", "get")
	if len(got.GetProblems()) > 0 || got.GetTrial() != nil || got.GetStaged() != 0 {
		t.Errorf("after cut %d: problems of the configurations %q, on trial %v, staged %d", n.cuts, got.GetProblems(), got.GetTrial(), got.GetStaged())
	}
	if found := changeNumber.FindStringSubmatch(got.GetDocument()); found != nil {
		number, _ = strconv.Atoi(found[1])
	}
	return got.GetDocument(), number
}

// stripped is the document but for the number of its change.
func (n *cutNode) stripped(t *testing.T, ctx context.Context) string {
	t.Helper()
	document, _ := n.configuration(t, ctx)
	return changeNumber.ReplaceAllString(document, "cut-N.example")
}

// keep copies the small partitions of the system disk into the machine's folder.
func (n *cutNode) keep(t *testing.T) {
	found, err := places(n.env.out("disk.raw"))
	for _, name := range []string{"esp", "state"} {
		p := found[name]
		path := filepath.Join(n.NodeDir(n.node), name+".raw")
		if err == nil {
			err = copySparse(path, io.NewSectionReader(n.system.Disk(), p.start, p.size))
		}
		t.Logf("the partition %s as it is now: %s, %v", name, path, err)
	}
}

// copySparse writes all but zeros.
func copySparse(path string, from *io.SectionReader) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(from.Size()); err != nil {
		return err
	}
	piece := make([]byte, mib)
	for at := int64(0); at < from.Size(); at += mib {
		k, err := from.ReadAt(piece, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if strings.Trim(string(piece[:k]), "\x00") == "" {
			continue
		}
		if _, err := f.WriteAt(piece[:k], at); err != nil {
			return err
		}
	}
	return f.Close()
}
