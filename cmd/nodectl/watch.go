package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/cyvive/cyvive/cmd/nodectl/output"
)

// changes tells which rows of one table after another are news. The first keys
// cells of a row name it.
type changes struct {
	keys  int
	known map[string][]string
}

// next returns the rows that are new or differ, and for each that is gone its
// name and "gone".
func (c *changes) next(rows [][]string) [][]string {
	now := map[string][]string{}
	var news [][]string
	for _, row := range rows {
		key := strings.Join(row[:c.keys], "\x00")
		for n := 2; now[key] != nil; n++ {
			key = fmt.Sprintf("%s\x00%d", strings.Join(row[:c.keys], "\x00"), n)
		}
		now[key] = row
		if !slices.Equal(c.known[key], row) {
			news = append(news, row)
		}
	}
	var gone []string
	for key := range c.known {
		if now[key] == nil {
			gone = append(gone, key)
		}
	}
	slices.Sort(gone)
	for _, key := range gone {
		row := make([]string, len(c.known[key]))
		copy(row, c.known[key][:c.keys])
		row[len(row)-1] = "gone"
		news = append(news, row)
	}
	c.known = now
	return news
}

// watchWriter writes rows as they come, in columns that grow but never shrink.
type watchWriter struct {
	out     io.Writer
	several bool
	header  []string

	mu     sync.Mutex
	widths []int
}

// write writes rows of a node, and the header before the first.
func (w *watchWriter) write(node string, rows [][]string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var lines [][]string
	if w.widths == nil {
		lines = append(lines, w.named("NODE", w.header))
		w.widths = make([]int, len(lines[0]))
	}
	for _, row := range rows {
		lines = append(lines, w.named(node, row))
	}
	for _, line := range lines {
		for i, cell := range line {
			w.widths[i] = max(w.widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, line := range lines {
		if _, err := io.WriteString(w.out, w.aligned(line)+"\n"); err != nil {
			return fmt.Errorf("write output: %w", err)
		}
	}
	return nil
}

// named puts the node's name before a row, if there are several nodes.
func (w *watchWriter) named(node string, row []string) []string {
	var line []string
	if w.several {
		line = append(line, node)
	}
	for _, cell := range row {
		if cell == "" {
			cell = "-"
		}
		line = append(line, output.Clean(cell))
	}
	return line
}

func (w *watchWriter) aligned(line []string) string {
	var b strings.Builder
	for i, cell := range line {
		b.WriteString(cell)
		if i < len(line)-1 {
			b.WriteString(strings.Repeat(" ", w.widths[i]-utf8.RuneCountInString(cell)+3))
		}
	}
	return b.String()
}
