package source_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cyvive/cyvive/internal/machined"
	"github.com/cyvive/cyvive/internal/machined/boot/cmdline"
	"github.com/cyvive/cyvive/internal/machined/source"
	"github.com/cyvive/cyvive/internal/machined/source/sourcetest"
)

// platformServers are the platforms by the name of cyvive.platform=, with their servers.
func platformServers() map[string]struct {
	facts source.Facts
	start func(t *testing.T) *sourcetest.Server
} {
	return map[string]struct {
		facts source.Facts
		start func(t *testing.T) *sourcetest.Server
	}{
		"aws":          {source.Facts{Vendor: "Amazon EC2"}, func(t *testing.T) *sourcetest.Server { return sourcetest.NewAWS(t, false) }},
		"gcp":          {source.Facts{Product: "Google Compute Engine"}, func(t *testing.T) *sourcetest.Server { return sourcetest.NewGCP(t, "user-data", false) }},
		"azure":        {source.Facts{ChassisTag: "7783-7084-3265-9085-8269-3286-77"}, func(t *testing.T) *sourcetest.Server { return sourcetest.NewAzure(t, http.StatusOK, 0) }},
		"openstack":    {source.Facts{Product: "OpenStack Nova"}, sourcetest.NewOpenStack},
		"hetzner":      {source.Facts{Vendor: "Hetzner"}, func(t *testing.T) *sourcetest.Server { return sourcetest.NewHetzner(t, http.StatusOK) }},
		"digitalocean": {source.Facts{Vendor: "DigitalOcean"}, sourcetest.NewDigitalOcean},
	}
}

// remote returns a subject that is asked over the network. The machine has nothing else.
func remote(t *testing.T, server *sourcetest.Server, facts source.Facts, timeout time.Duration) sourcetest.Subject {
	clock, address := sourcetest.NewClock(), &sourcetest.Switch{}
	return sourcetest.Subject{
		Source: source.New(source.Config{
			Facts: facts, Sys: t.TempDir(), Addressed: address.On, Timeout: timeout, Now: clock.Now,
			Bases: func(string, []string) []string { return []string{server.URL} },
		}),
		Place: server, Server: server, Clock: clock, Address: address, Named: server.URL,
	}
}

func TestPlatforms(t *testing.T) {
	for name, p := range platformServers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sourcetest.Conformance(t, func(t *testing.T, timeout time.Duration) sourcetest.Subject {
				return remote(t, p.start(t), p.facts, timeout)
			})
		})
	}
}

func TestURL(t *testing.T) {
	t.Parallel()
	sourcetest.Conformance(t, func(t *testing.T, timeout time.Duration) sourcetest.Subject {
		server := sourcetest.NewWeb(t, "/nodes/1", true)
		line := "cyvive.config=" + server.URL + "/nodes/1?token=abc cyvive.config.spki=" + server.Key()
		s := remote(t, server, source.Facts{Args: cmdline.Parse(line)}, timeout)
		s.Promised = true
		return s
	})
}

// file is a place that is one file.
type file struct {
	t    *testing.T
	path string
	// form makes the file of what the user gave.
	form func([]byte) []byte
}

func (f file) Put(data []byte) {
	f.t.Helper()
	if data == nil {
		if err := os.RemoveAll(f.path); err != nil {
			f.t.Fatal(err)
		}
		return
	}
	if err := os.MkdirAll(filepath.Dir(f.path), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if f.form != nil {
		data = f.form(data)
	}
	if err := os.WriteFile(f.path, data, 0o400); err != nil && !os.IsPermission(err) {
		f.t.Fatal(err)
	}
}

func TestFirmware(t *testing.T) {
	t.Run("fw_cfg", func(t *testing.T) {
		sourcetest.Conformance(t, func(t *testing.T, _ time.Duration) sourcetest.Subject {
			sys := t.TempDir()
			return sourcetest.Subject{
				Source: source.New(source.Config{Sys: sys}), Named: "fw_cfg opt/dev.cyvive.config",
				Place: file{t: t, path: filepath.Join(sys, "firmware/qemu_fw_cfg/by_name/opt/dev.cyvive.config/raw")},
			}
		})
	})
	t.Run("SMBIOS", func(t *testing.T) {
		sourcetest.Conformance(t, func(t *testing.T, _ time.Duration) sourcetest.Subject {
			sys := t.TempDir()
			return sourcetest.Subject{
				Source: source.New(source.Config{Sys: sys}), Named: "SMBIOS dev.cyvive.config", TextOnly: true,
				Place: file{t: t, path: filepath.Join(sys, "firmware/dmi/tables/DMI"), form: func(data []byte) []byte {
					return table(structure(1, "QEMU", "Standard PC"), structure(11, "io.systemd.credential:a=b", "dev.cyvive.config="+string(data)))
				}},
			}
		})
	})
}

// structure is one structure of SMBIOS with its strings.
func structure(kind byte, texts ...string) []byte {
	out := []byte{kind, 5, 0, kind, byte(len(texts))}
	for _, text := range texts {
		out = append(append(out, text...), 0)
	}
	if len(texts) == 0 {
		out = append(out, 0)
	}
	return append(out, 0)
}

func table(structures ...[]byte) []byte {
	var out []byte
	for _, s := range append(structures, structure(127)) {
		out = append(out, s...)
	}
	return out
}

// memory is a source that a test fills.
type memory struct {
	name string
	mu   sync.Mutex
	data []byte
	err  error
}

func (m *memory) Put(data []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.data = data
	if len(data) < 3 {
		m.data = nil // such a volume has no such file
	}
}

func (m *memory) Find(context.Context) (*machined.Document, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil || m.data == nil {
		return nil, m.err
	}
	return &machined.Document{Name: m.name, Data: m.data}, nil
}

func (m *memory) Where() string { return m.name }

func TestVolumes(t *testing.T) {
	for name, set := range map[string]func(*source.Config, machined.Place){
		"NoCloud":      func(c *source.Config, s machined.Place) { c.NoCloud = s },
		"config drive": func(c *source.Config, s machined.Place) { c.ConfigDrive = s },
	} {
		t.Run(name, func(t *testing.T) {
			sourcetest.Conformance(t, func(t *testing.T, _ time.Duration) sourcetest.Subject {
				place := &memory{name: name}
				cfg := source.Config{Sys: t.TempDir()}
				set(&cfg, place)
				return sourcetest.Subject{Source: source.New(cfg), Place: place, Named: name, Verbatim: name != "config drive"}
			})
		})
	}
}
