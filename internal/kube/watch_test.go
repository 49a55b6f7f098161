package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cyvive/cyvive/internal/pki"
	"github.com/cyvive/cyvive/internal/service"
)

// collections plays the part of an API server that lists and watches.
type collections struct {
	mu sync.Mutex
	// lists are the pages of each collection, by the "continue" that asks for them; listed counts the answers.
	lists  map[string]map[string]string
	listed map[string]int
	// events go to the watch of a path; what is no JSON ends it. Versions are what watches began from.
	events   map[string]chan string
	versions []string
	// refuse answers every request, when it is not 0.
	refuse int
}

func (c *collections) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	refuse := c.refuse
	if r.FormValue("watch") == "" {
		defer c.mu.Unlock()
		if refuse != 0 {
			http.Error(w, `{"message":"not now"}`, refuse)
			return
		}
		c.listed[r.URL.Path]++
		fmt.Fprint(w, c.lists[r.URL.Path][r.FormValue("continue")])
		return
	}
	c.versions = append(c.versions, r.FormValue("resourceVersion"))
	events := c.events[r.URL.Path]
	c.mu.Unlock()
	if refuse != 0 {
		http.Error(w, `{"message":"too old resource version"}`, refuse)
		return
	}
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case text := <-events:
			if text == "" {
				return
			}
			fmt.Fprintln(w, text)
			w.(http.Flusher).Flush()
		}
	}
}

func (c *collections) change(do func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	do()
}

// follower is a watch of collections.
type follower struct {
	*collections
	t      *testing.T
	tables chan *service.Table
}

func follow(t *testing.T) *follower {
	ca, err := pki.NewAuthority("kubernetes", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c := &collections{
		listed: map[string]int{},
		events: map[string]chan string{servicesPath: make(chan string), slicesPath: make(chan string)},
		lists: map[string]map[string]string{
			servicesPath: {
				"":     `{"metadata":{"resourceVersion":"10","continue":"more"},"items":[` + object1("10.96.0.1") + `]}`,
				"more": `{"metadata":{"resourceVersion":"10"},"items":[` + object2("10.96.0.2") + `]}`,
			},
			slicesPath: {"": `{"metadata":{"resourceVersion":"20"},"items":[]}`},
		},
	}
	w := &ServiceWatch{rest: server(t, ca, c.ServeHTTP), log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(t.Context())
	f := &follower{collections: c, t: t, tables: make(chan *service.Table, 100)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.Run(ctx, Spec{NodeName: "node1", CA: ca}, func(t *service.Table) { f.tables <- t })
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return f
}

func object1(ip string) string { return serviceObject("one", ip) }
func object2(ip string) string { return serviceObject("two", ip) }

func serviceObject(name, ip string) string {
	return `{"metadata":{"namespace":"a","name":"` + name + `","resourceVersion":"11"},"spec":{"clusterIP":"` + ip + `","ports":[{"port":80}]}}`
}

func sliceObject(ips string) string {
	return `{"metadata":{"namespace":"a","name":"one-1","resourceVersion":"21","labels":{"kubernetes.io/service-name":"one"}},"addressType":"IPv4",
		"ports":[{"port":8080}],"endpoints":[{"addresses":[` + ips + `]}]}`
}

// expect waits for a table; lines in want are without those for the rest of an address.
func (f *follower) expect(what, want string) {
	f.t.Helper()
	var got string
	for {
		select {
		case table := <-f.tables:
			got = ""
			for line := range strings.Lines(table.String()) {
				if !strings.HasPrefix(line, "any ") {
					got += strings.TrimSpace(line) + "; "
				}
			}
			if got == want {
				return
			}
		case <-time.After(10 * time.Second):
			f.t.Fatalf("%s: got %q, want %q", what, got, want)
		}
	}
}

func (f *follower) send(path, kind, object string) {
	f.t.Helper()
	// JSON in one line, as servers send it.
	select {
	case f.events[path] <- `{"type":"` + kind + `","object":` + strings.ReplaceAll(object, "\n", " ") + `}`:
	case <-time.After(10 * time.Second):
		f.t.Fatalf("nobody watches %s", path)
	}
}

// end ends the watch of a path, if there is one.
func (f *follower) end(path string) {
	select {
	case f.events[path] <- "":
	case <-time.After(time.Second):
	}
}

func TestServiceWatch(t *testing.T) {
	f := follow(t)
	f.expect("both pages", "tcp 10.96.0.1:80 ->; tcp 10.96.0.2:80 ->; ")
	f.send(slicesPath, "ADDED", sliceObject(`"10.244.0.5"`))
	f.expect("a backend", "tcp 10.96.0.1:80 -> 10.244.0.5:8080; tcp 10.96.0.2:80 ->; ")
	f.send(slicesPath, "MODIFIED", sliceObject(`"10.244.0.6","10.244.0.5"`))
	f.expect("two", "tcp 10.96.0.1:80 -> 10.244.0.5:8080 10.244.0.6:8080; tcp 10.96.0.2:80 ->; ")
	f.send(servicesPath, "DELETED", object2("10.96.0.2"))
	f.expect("a service less", "tcp 10.96.0.1:80 -> 10.244.0.5:8080 10.244.0.6:8080; ")

	// A watch that the server ends goes on from where it was, without a list.
	f.send(slicesPath, "BOOKMARK", `{"metadata":{"resourceVersion":"29"}}`)
	f.end(slicesPath)
	f.send(slicesPath, "DELETED", sliceObject(""))
	f.expect("after the end of a watch", "tcp 10.96.0.1:80 ->; ")
	f.change(func() {
		if last := f.versions[len(f.versions)-1]; last != "29" || f.listed[slicesPath] != 1 {
			t.Errorf("the watch went on from %s after %d lists, want 29 after 1", last, f.listed[slicesPath])
		}
	})
}

// TestServiceWatchListsAgain: what happened while nobody watched is in the next list, and what is not in it is gone.
func TestServiceWatchListsAgain(t *testing.T) {
	f := follow(t)
	f.expect("at first", "tcp 10.96.0.1:80 ->; tcp 10.96.0.2:80 ->; ")
	f.change(func() {
		f.lists[servicesPath] = map[string]string{"": `{"metadata":{"resourceVersion":"50"},"items":[` + object2("10.96.0.7") + `]}`}
	})
	f.send(servicesPath, "ERROR", `{"kind":"Status","code":410,"message":"too old resource version"}`)
	f.expect("a watch that is gone", "tcp 10.96.0.7:80 ->; ")

	f.change(func() {
		f.refuse = http.StatusGone
		f.lists[servicesPath][""] = `{"metadata":{"resourceVersion":"60"},"items":[]}`
	})
	f.end(servicesPath)
	time.Sleep(2 * retryFirst)
	f.change(func() { f.refuse = 0 })
	f.expect("a version that the server does not take", "")
}

// TestServiceWatchKeepsTheLastTable: a server that is away changes nothing.
func TestServiceWatchKeepsTheLastTable(t *testing.T) {
	f := follow(t)
	f.expect("at first", "tcp 10.96.0.1:80 ->; tcp 10.96.0.2:80 ->; ")
	f.change(func() { f.refuse = http.StatusServiceUnavailable })
	f.end(servicesPath)
	f.end(slicesPath)
	time.Sleep(4 * retryFirst)
	select {
	case table := <-f.tables:
		t.Errorf("a server that is away made the table\n%s", table)
	default:
	}
	f.change(func() { f.refuse = 0 })
	f.send(servicesPath, "DELETED", object1("10.96.0.1"))
	f.expect("when it is back", "tcp 10.96.0.2:80 ->; ")
}

// TestServiceWatchLeavesOut: an object that cannot be read does not keep the others.
func TestServiceWatchLeavesOut(t *testing.T) {
	f := follow(t)
	f.expect("at first", "tcp 10.96.0.1:80 ->; tcp 10.96.0.2:80 ->; ")
	f.send(servicesPath, "MODIFIED", `{"metadata":{"resourceVersion":"12"},"spec":{"ports":"none"}}`)
	f.send(servicesPath, "DELETED", object1("10.96.0.1"))
	f.expect("the next one", "tcp 10.96.0.2:80 ->; ")
}

func FuzzNextEvent(f *testing.F) {
	f.Add(`{"type":"ADDED","object":{"metadata":{"resourceVersion":"1"}}}{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"2"}}}`)
	f.Add(`{"type":"ERROR","object":{"code":410,"message":"gone"}}`)
	f.Add(`{"type":"ADDED","object":`)
	f.Add(`{}`)
	f.Fuzz(func(t *testing.T, text string) {
		events := json.NewDecoder(strings.NewReader(text))
		for range len(text) + 1 {
			e, err := nextEvent(events)
			if err != nil || e == nil {
				if errors.Is(err, errGone) && !strings.Contains(text, "ERROR") {
					t.Errorf("gone without an error of the server: %v", err)
				}
				return
			}
			if e.version == "" || !json.Valid(e.object) {
				t.Errorf("event %+v", e)
			}
		}
		t.Error("more events than bytes")
	})
}

func FuzzParseList(f *testing.F) {
	f.Add([]byte(`{"metadata":{"resourceVersion":"1","continue":"x"},"items":[{},7]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if page, err := parseList(data); err == nil && page.Metadata.ResourceVersion == "" {
			t.Error("a list without a version to watch from")
		}
	})
}
