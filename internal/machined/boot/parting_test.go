package boot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestParting: what does not end keeps nothing else waiting, is waited for until the end, and is named.
func TestParting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &parting{log: slog.New(slog.DiscardHandler)}
		resume, began := make(chan struct{}), time.Now()
		hang := func() error { <-resume; return nil }
		p.do("unmount /a/b", "tank", hang)
		p.do("unmount /a", "tank", hang)
		if took := time.Since(began); took != partingPatience+hangingPatience {
			t.Errorf("two of one pool were waited for %s", took)
		}
		ran := false
		p.do("unmount /var", "node", func() error { ran = true; return errors.New("bad") })
		p.begin("let go of a volume", "", hang)
		if !ran || !p.hangs("tank") || p.hangs("node") {
			t.Errorf("the other ran: %t; tank hangs: %t, node: %t", ran, p.hangs("tank"), p.hangs("node"))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := p.end(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "bad") || !strings.Contains(err.Error(), "(unmount /a/b; unmount /a; let go of a volume)") {
			t.Errorf("at the end: %v", err)
		}
		close(resume)
		if err := p.end(t.Context()); err == nil || err.Error() != "bad" || p.hangs("tank") {
			t.Errorf("once all have ended: %v", err)
		}
	})
}

// TestPartingOfMany: what hangs on many devices, as the volumes of one pool do, leaves time for what comes after.
func TestPartingOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &parting{log: slog.New(slog.DiscardHandler)}
		resume, began := make(chan struct{}), time.Now()
		const volumes = 30
		for i := range volumes {
			p.do("unmount a volume", fmt.Sprintf("//dev/zd%d", 16*i), func() error { <-resume; return nil })
		}
		full := partingInAll / partingPatience
		if took, want := time.Since(began), partingInAll+(volumes-full)*hangingPatience; took != want {
			t.Errorf("%d volumes were waited for %s, want %s", volumes, took, want)
		}
		close(resume)
		if err := p.end(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestExportPools: a pool from which something is unmounted still keeps no other from being exported, and comes last, if that has ended.
func TestExportPools(t *testing.T) {
	for name, c := range map[string]struct {
		pools []string
		// hanging are asked once for each pool, and again for those that hang; they end in between.
		hanging, ending []string
		want            []string
		says            string
	}{
		"none":              {nil, nil, nil, nil, ""},
		"all is well":       {[]string{"node", "tank"}, nil, nil, []string{"-a"}, ""},
		"one hangs":         {[]string{"node", "pond", "tank"}, []string{"pond"}, nil, []string{"node tank"}, "pool pond is not exported"},
		"one ends by then":  {[]string{"node", "pond"}, []string{"pond"}, []string{"pond"}, []string{"node", "pond"}, ""},
		"there is no other": {[]string{"pond"}, []string{"pond"}, nil, nil, "pool pond is not exported"},
	} {
		asked := map[string]int{}
		has := func(list []string, pool string) bool {
			return strings.Contains(" "+strings.Join(list, " ")+" ", " "+pool+" ")
		}
		hangs := func(pool string) bool {
			asked[pool]++
			return has(c.hanging, pool) && !(asked[pool] > 1 && has(c.ending, pool))
		}
		var got []string
		err := exportPools(c.pools, hangs, func(args ...string) error {
			got = append(got, strings.Join(args, " "))
			return nil
		})
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
