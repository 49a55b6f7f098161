package build

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/images/internal/tree"
)

// largest is how many files the report shows.
const largest = 12

// report prints what takes how much of the image, and what a node downloads.
func (b *builder) report(context.Context) error {
	var download int64
	for _, name := range []string{"cyvive.efi", "root.erofs.zst", "root.verity"} {
		i, err := os.Stat(b.out(name))
		if err != nil {
			return fmt.Errorf("report sizes: %w", err)
		}
		fmt.Fprintf(b.Progress, "mkimage: %7.1f MB  %s\n", megabytes(i.Size()), name)
		download += i.Size()
	}
	fmt.Fprintf(b.Progress, "mkimage: %7.1f MB  download: system and Kubernetes together, compressed\n", megabytes(download))
	files, err := sizes(b.results.layout)
	if err != nil {
		return err
	}
	fmt.Fprintln(b.Progress, "mkimage: largest files, not compressed:")
	for _, f := range files[:min(largest, len(files))] {
		fmt.Fprintf(b.Progress, "mkimage: %7.1f MB  %s\n", megabytes(f.bytes), f.name)
	}
	names := programNames(files)
	fmt.Fprintf(b.Progress, "mkimage: %d programs: %s\n", len(names), strings.Join(names, " "))
	return nil
}

func megabytes(bytes int64) float64 { return float64(bytes) / 1e6 }

type sized struct {
	name    string
	bytes   int64
	program bool
}

// sizes lists the files of t, the largest first; further hard links of a file
// take nothing and are left out.
func sizes(t *tree.Tree) ([]sized, error) {
	var out []sized
	for _, name := range t.Paths() {
		e := t.Get(name)
		if e.Kind != tree.File {
			continue
		}
		n, err := e.Size()
		if err != nil {
			return nil, fmt.Errorf("report sizes: %w", err)
		}
		dir := path.Dir(name)
		out = append(out, sized{name, n, path.Base(dir) == "bin" && e.Mode&0o111 != 0})
	}
	slices.SortStableFunc(out, func(a, b sized) int { return cmp.Compare(b.bytes, a.bytes) })
	return out, nil
}

// programNames are the names of the programs among files, sorted.
func programNames(files []sized) []string {
	var out []string
	for _, f := range files {
		if f.program {
			out = append(out, path.Base(f.name))
		}
	}
	slices.Sort(out)
	return out
}
