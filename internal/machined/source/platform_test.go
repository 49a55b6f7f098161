package source_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/machined/source"
	"github.com/cyvive/cyvive/internal/machined/source/sourcetest"
)

// ask lets a source on the platform find what is at the bases, volumes having appeared.
func ask(t *testing.T, facts source.Facts, bases ...string) (name, outcome string) {
	t.Helper()
	clock := sourcetest.NewClock()
	s := source.New(source.Config{
		Facts: facts, Sys: t.TempDir(), Now: clock.Now, Timeout: 10 * time.Second,
		Addressed: func() bool { return true }, Bases: func(string, []string) []string { return bases },
	})
	if _, err := s.Find(t.Context()); err == nil {
		t.Fatal("nobody waits for volumes")
	}
	clock.Advance(time.Minute)
	doc, err := s.Find(t.Context())
	switch {
	case err != nil:
		return "", err.Error()
	case doc == nil:
		return "", "nothing"
	}
	return doc.Name, string(doc.Data)
}

// closed is a URL at which nobody listens.
func closed(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	return "http://" + l.Addr().String()
}

// TestRequests: each service is asked for one thing, as its platform documents it; what else it is asked is found by its server.
func TestRequests(t *testing.T) {
	want := map[string][]string{
		"aws":          {"PUT /latest/api/token", "GET /latest/user-data"},
		"gcp":          {"GET /computeMetadata/v1/instance/attributes/cyvive-config", "GET /computeMetadata/v1/instance/attributes/user-data"},
		"azure":        {"GET /metadata/instance/compute/userData"},
		"openstack":    {"GET /openstack/latest/user_data"},
		"hetzner":      {"GET /hetzner/v1/userdata"},
		"digitalocean": {"GET /metadata/v1/user-data"},
	}
	for name, p := range platformServers() {
		server := p.start(t)
		server.Put([]byte(documents))
		at, got := ask(t, p.facts, server.URL)
		last := want[name][len(want[name])-1]
		if got != documents || at != server.URL+strings.TrimPrefix(last, "GET ") {
			t.Errorf("%s: got %q from %s", name, got, at)
		}
		if d := cmp.Diff(want[name], server.Requests()); d != "" {
			t.Errorf("%s: requests (-want +got):\n%s", name, d)
		}
	}
}

func TestAWS(t *testing.T) {
	facts := source.Facts{Vendor: "Amazon EC2"}
	t.Run("turned off", func(t *testing.T) {
		server := sourcetest.NewAWS(t, true)
		_, got := ask(t, facts, server.URL)
		want := "ask the metadata service of AWS at " + server.URL +
			"/latest/api/token: it answers 403 Forbidden; the instance's metadata service may be turned off (HttpEndpoint)"
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
	t.Run("IPv6 alone", func(t *testing.T) {
		server := sourcetest.NewAWS(t, false)
		server.Put([]byte(documents))
		if _, got := ask(t, facts, closed(t), server.URL); got != documents {
			t.Errorf("got %q", got)
		}
	})
	t.Run("neither", func(t *testing.T) {
		four, six := closed(t), closed(t)
		_, got := ask(t, facts, four, six)
		want := "waiting for the metadata service of AWS at " + four + "/latest/api/token: connection refused, and at " + six + "/latest/api/token: connection refused"
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
	t.Run("the second is not asked", func(t *testing.T) {
		four, six := sourcetest.NewAWS(t, false), sourcetest.NewAWS(t, false)
		six.Put([]byte(documents))
		if _, got := ask(t, facts, four.URL, six.URL); got != "nothing" || len(six.Requests()) > 0 {
			t.Errorf("got %q", got)
		}
	})
	t.Run("version 1", func(t *testing.T) {
		old := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet {
				http.Error(w, "", http.StatusNotFound)
				return
			}
			t.Error("it is asked without a token")
		}))
		defer old.Close()
		if _, got := ask(t, facts, old.URL); !strings.HasSuffix(got, "/latest/api/token: it gave no token, expected version 2 of the service") {
			t.Errorf("got %q", got)
		}
	})
}

func TestGCP(t *testing.T) {
	facts := source.Facts{Product: "Google Compute Engine"}
	t.Run("a key of its own", func(t *testing.T) {
		server := sourcetest.NewGCP(t, "cyvive-config", false)
		server.Put([]byte(documents))
		if at, got := ask(t, facts, server.URL); got != documents || !strings.HasSuffix(at, "/cyvive-config") {
			t.Errorf("got %q from %s", got, at)
		}
		if got := server.Requests(); len(got) != 1 {
			t.Errorf("requests %q: what is under user-data does not matter then", got)
		}
	})
	for _, data := range [][]byte{nil, []byte(documents)} {
		server := sourcetest.NewGCP(t, "cyvive-config", true)
		server.Put(data)
		if _, got := ask(t, facts, server.URL); !strings.Contains(got, "no field Metadata-Flavor: Google, so it is not the platform's") {
			t.Errorf("another server that has %q: got %q", data, got)
		}
	}
}

func TestAzure(t *testing.T) {
	facts := source.Facts{ChassisTag: "7783-7084-3265-9085-8269-3286-77"}
	server := sourcetest.NewAzure(t, http.StatusNotFound, 1)
	if _, got := ask(t, facts, server.URL); !strings.HasSuffix(got, "it answers 410 Gone") || !strings.HasPrefix(got, "waiting for ") {
		t.Errorf("at first: got %q", got)
	}
	if _, got := ask(t, facts, server.URL); got != "nothing" {
		t.Errorf("without user data: got %q", got)
	}
	raw := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(documents)) }))
	defer raw.Close()
	if _, got := ask(t, facts, raw.URL); !strings.Contains(got, "is not base64, as which the service gives it out") {
		t.Errorf("user data that is not in base64: got %q", got)
	}
}

// TestNothingOnHetzner: how its service says that there is nothing is not documented.
func TestNothingOnHetzner(t *testing.T) {
	for _, status := range []int{http.StatusOK, http.StatusNoContent, http.StatusNotFound} {
		if _, got := ask(t, source.Facts{Vendor: "Hetzner"}, sourcetest.NewHetzner(t, status).URL); got != "nothing" {
			t.Errorf("with %d: got %q", status, got)
		}
	}
}
