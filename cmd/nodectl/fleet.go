package main

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/cyvive/cyvive/cmd/nodectl/output"
)

// result is what one node made of a call.
type result[T any] struct {
	node string
	resp T
	err  error // explained
}

// each runs a call on all nodes of a target at once. The results are in the
// order of the nodes.
func each[T any](ctx context.Context, t *target, call func(context.Context, string, *connection) (T, error)) []result[T] {
	results := make([]result[T], len(t.nodes))
	var wg sync.WaitGroup
	for i, node := range t.nodes {
		wg.Go(func() {
			results[i].node = node
			conn, err := t.dial(node)
			if err != nil {
				results[i].err = err
				return
			}
			defer conn.Close()
			results[i].resp, err = call(ctx, node, conn)
			if err != nil {
				results[i].err = t.explain(err, conn.lastCause())
			}
		})
	}
	wg.Wait()
	return results
}

// columns is how one kind of response looks in a table.
type columns[T any] struct {
	header []string
	rows   func(T) [][]string
}

// unary runs a call that has one response on all nodes and writes the
// responses. Check may find a response wanting although the call succeeded.
func unary[T proto.Message](ctx context.Context, a *app, call func(context.Context, *connection) (T, error), c columns[T], check func(T) error) error {
	t, err := a.target()
	if err != nil {
		return err
	}
	results := each(ctx, t, func(ctx context.Context, _ string, conn *connection) (T, error) {
		ctx, cancel := context.WithTimeout(ctx, a.timeout)
		defer cancel()
		return call(ctx, conn)
	})
	if err := writeResults(a, results, c); err != nil {
		return err
	}
	if check != nil {
		for i, r := range results {
			if r.err == nil {
				results[i].err = check(r.resp)
			}
		}
	}
	return a.report(errorsOf(results))
}

// both is unary with two tables, one below the other, of one call.
func both[T proto.Message](ctx context.Context, a *app, call func(context.Context, *connection) (T, error), first, second columns[T]) error {
	t, err := a.target()
	if err != nil {
		return err
	}
	results := each(ctx, t, func(ctx context.Context, _ string, conn *connection) (T, error) {
		ctx, cancel := context.WithTimeout(ctx, a.timeout)
		defer cancel()
		return call(ctx, conn)
	})
	if err := writeResults(a, results, first); err != nil {
		return err
	}
	if slices.ContainsFunc(results, func(r result[T]) bool { return r.err == nil }) {
		if _, err := fmt.Fprintln(a.stdout); err != nil {
			return fmt.Errorf("write output: %w", err)
		}
	}
	if err := writeResults(a, results, second); err != nil {
		return err
	}
	return a.report(errorsOf(results))
}

// noted is unary with a second table below the first, in tables alone and only where there is something in it.
func noted[T proto.Message](ctx context.Context, a *app, call func(context.Context, *connection) (T, error), first, second columns[T]) error {
	t, err := a.target()
	if err != nil {
		return err
	}
	results := each(ctx, t, func(ctx context.Context, _ string, conn *connection) (T, error) {
		ctx, cancel := context.WithTimeout(ctx, a.timeout)
		defer cancel()
		return call(ctx, conn)
	})
	if err := writeResults(a, results, first); err != nil {
		return err
	}
	if a.format == output.FormatTable && slices.ContainsFunc(results, func(r result[T]) bool { return r.err == nil && len(second.rows(r.resp)) > 0 }) {
		if _, err := fmt.Fprintln(a.stdout); err != nil {
			return fmt.Errorf("write output: %w", err)
		}
		if err := writeResults(a, results, second); err != nil {
			return err
		}
	}
	return a.report(errorsOf(results))
}

// writeResults writes the responses there are.
func writeResults[T proto.Message](a *app, results []result[T], c columns[T]) error {
	several := len(results) > 1
	good := slices.DeleteFunc(slices.Clone(results), func(r result[T]) bool { return r.err != nil })
	if len(good) == 0 {
		return nil
	}
	if a.format != output.FormatTable {
		answers := make([]output.Answer, len(good))
		for i, r := range good {
			answers[i] = output.Answer{Node: r.node, Message: r.resp}
		}
		return output.WriteAll(a.stdout, a.format, answers, several)
	}
	table := output.Table{Header: c.header}
	if several {
		table.Header = append([]string{"NODE"}, c.header...)
	}
	for _, r := range good {
		for _, row := range c.rows(r.resp) {
			if several {
				row = append([]string{r.node}, row...)
			}
			table.Rows = append(table.Rows, row)
		}
	}
	return table.Write(a.stdout)
}

// failure is a node and what went wrong on it.
type failure struct {
	node string
	err  error
}

// errorsOf returns one entry per node, with a nil error where it went well.
func errorsOf[T any](results []result[T]) []failure {
	failures := make([]failure, len(results))
	for i, r := range results {
		failures[i] = failure{r.node, r.err}
	}
	return failures
}

// report prints the errors, each with its node, and returns the error that
// carries the exit status.
func (a *app) report(nodes []failure) error {
	e := nodesError{total: len(nodes)}
	for _, n := range nodes {
		if n.err != nil {
			e.failed++
			fmt.Fprintf(a.stderr, "%s: %v\n", n.node, n.err)
		}
	}
	if e.failed == 0 {
		return nil
	}
	return e
}
