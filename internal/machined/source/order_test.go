package source_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/machined"
	"github.com/cyvive/cyvive/internal/machined/boot/cmdline"
	"github.com/cyvive/cyvive/internal/machined/source"
	"github.com/cyvive/cyvive/internal/machined/source/sourcetest"
)

const documents = "apiVersion: cyvive.dev/v1alpha1\nkind: Machine\nhostname: "

// machine is one that has a place of every kind.
type machine struct {
	*source.Sources
	clock          *sourcetest.Clock
	nocloud, drive *memory
	web, metadata  *sourcetest.Server
	oem, fw        file
}

func newMachine(t *testing.T, withURL bool) *machine {
	sys := t.TempDir()
	m := &machine{
		clock: sourcetest.NewClock(), nocloud: &memory{name: "user-data"}, drive: &memory{name: "drive"},
		web: sourcetest.NewWeb(t, "/config", true), metadata: sourcetest.NewAWS(t, false),
		oem: file{t: t, path: filepath.Join(sys, "firmware/dmi/tables/DMI"), form: func(data []byte) []byte {
			return table(structure(11, "dev.cyvive.config="+string(data)))
		}},
		fw: file{t: t, path: filepath.Join(sys, "firmware/qemu_fw_cfg/by_name/opt/dev.cyvive.config/raw")},
	}
	facts := source.Facts{Vendor: "Amazon EC2"}
	if withURL {
		facts.Args = cmdline.Parse("cyvive.config=" + m.web.URL + "/config cyvive.config.spki=" + m.web.Key())
	}
	m.Sources = source.New(source.Config{
		Facts: facts, NoCloud: m.nocloud, ConfigDrive: m.drive, Sys: sys, Now: m.clock.Now,
		Addressed: func() bool { return true }, Bases: func(string, []string) []string { return []string{m.metadata.URL} },
	})
	if got := m.find(t); !strings.Contains(got, "volumes to appear") {
		t.Errorf("at first: %s", got)
	}
	return m
}

// places are all of them, in their order.
func (m *machine) places() []struct {
	name string
	sourcetest.Place
} {
	return []struct {
		name string
		sourcetest.Place
	}{
		{"NoCloud", m.nocloud}, {"URL", m.web}, {"drive", m.drive}, {"metadata", m.metadata}, {"SMBIOS", m.oem}, {"fw_cfg", m.fw},
	}
}

// find looks, later than any pause, and says by which host name the place is known.
func (m *machine) find(t *testing.T) string {
	t.Helper()
	m.clock.Advance(time.Hour)
	doc, err := m.Find(t.Context())
	if err != nil {
		return "error: " + err.Error()
	}
	if doc == nil {
		return "nothing"
	}
	return strings.TrimPrefix(string(doc.Data), documents)
}

// TestFirstFoundWins fills all places and takes away the first that holds something, again and again. A server behind it hears nothing.
func TestFirstFoundWins(t *testing.T) {
	for _, withURL := range []bool{true, false} {
		m := newMachine(t, withURL)
		for _, p := range m.places() {
			p.Put([]byte(documents + p.name))
		}
		for _, p := range m.places() {
			if p.name == "URL" && !withURL {
				continue
			}
			if got := m.find(t); got != p.name {
				t.Errorf("got %s, want that of %s", got, p.name)
			}
			if asked := len(m.web.Requests()) > 0; asked != (p.name == "URL") {
				t.Errorf("%s: the web server was asked: %t", p.name, asked)
			}
			// What lies behind it and holds something is found only after it says that it has nothing.
			behind := p.name == "metadata" || p.name == "SMBIOS" || p.name == "fw_cfg"
			if asked := len(m.metadata.Requests()) > 0; asked != behind {
				t.Errorf("%s: the metadata service was asked: %t", p.name, asked)
			}
			p.Put(nil)
			if p.name == "URL" {
				if got := m.find(t); !strings.Contains(got, "has nothing there") {
					t.Errorf("a URL without documents: %s", got)
				}
				break // the command line promised something there, so the search goes no further
			}
		}
		if !withURL && m.find(t) != "nothing" {
			t.Error("something is found in empty places")
		}
	}
}

// TestTroubleHoldsWhatIsBehind: a place that fails keeps the next from being taken instead.
func TestTroubleHoldsWhatIsBehind(t *testing.T) {
	m := newMachine(t, true)
	m.fw.Put([]byte(documents + "fw_cfg"))
	m.web.Put([]byte("#cloud-config\n"))
	if got := m.find(t); !strings.Contains(got, "cloud-init") {
		t.Errorf("with a URL for another program: %s", got)
	}
	m.nocloud.err = errors.New("no user-data")
	if got := m.find(t); got != "error: no user-data" {
		t.Errorf("with a broken volume: %s", got)
	}

	m = newMachine(t, false)
	m.fw.Put([]byte(documents + "fw_cfg"))
	if got := m.find(t); got != "fw_cfg" {
		t.Errorf("with a service that has nothing: %s", got)
	}
	m.metadata.Break(sourcetest.Unavailable)
	if got := m.find(t); !strings.Contains(got, "waiting for the metadata service of AWS at "+m.metadata.URL+"/latest/api/token: it answers 503") {
		t.Errorf("with a service that is not well: %s", got)
	}
	m.metadata.Break("")
	if got := m.find(t); got != "fw_cfg" {
		t.Errorf("with a service that is well again: %s", got)
	}
}

// TestNobodyIsAsked: a machine on no known platform turns to nobody, and neither does one that was told not to.
func TestNobodyIsAsked(t *testing.T) {
	for name, facts := range map[string]source.Facts{
		"no DMI":       {},
		"QEMU":         {Vendor: "QEMU", Product: "Standard PC (Q35 + ICH9, 2009)"},
		"VMware":       {Vendor: "VMware, Inc.", Product: "VMware7,1", ChassisTag: "No Asset Tag"},
		"Hyper-V":      {Vendor: "Microsoft Corporation", Product: "Virtual Machine", ChassisTag: "7783-7084-3265-9085-8269-3286-78"},
		"a serial":     {Vendor: "Xen", UUID: "ec2e1916-9099-7caf-fd21-012345abcdef", Serial: "1"},
		"a desktop":    {Vendor: "Google", Product: "Google Compute Engine 2"},
		"told not to":  {Vendor: "Amazon EC2", Args: cmdline.Parse("cyvive.platform=none")},
		"told another": {Vendor: "Amazon EC2", Args: cmdline.Parse("cyvive.platform=nowhere")},
	} {
		t.Run(name, func(t *testing.T) {
			clock := sourcetest.NewClock()
			s := source.New(source.Config{
				Facts: facts, Sys: t.TempDir(), Now: clock.Now,
				Addressed: func() bool { t.Error("it wants an address"); return true },
				Bases:     func(name string, _ []string) []string { t.Errorf("%s is asked", name); return nil },
			})
			for range 3 {
				doc, err := s.Find(t.Context())
				if doc != nil || (err != nil) != (name == "told another") {
					t.Errorf("got %v, %v", doc, err)
				}
				clock.Advance(time.Minute)
			}
		})
	}
}

// TestRecognition: each platform's machines are its own, and the command line beats the firmware.
func TestRecognition(t *testing.T) {
	for _, c := range []struct {
		facts source.Facts
		line  string
		want  string
	}{
		{source.Facts{Vendor: "Amazon EC2", Product: "m7i.large"}, "", "AWS"},
		{source.Facts{Vendor: "Xen", UUID: "EC2E1916-9099-7CAF-FD21-012345ABCDEF", Serial: "ec2e1916-9099-7caf-fd21-012345abcdef"}, "", "AWS"},
		{source.Facts{Vendor: "Google", Product: "Google Compute Engine"}, "", "Google Cloud"},
		{source.Facts{Vendor: "Microsoft Corporation", ChassisTag: "7783-7084-3265-9085-8269-3286-77"}, "", "Azure"},
		{source.Facts{Vendor: "OpenStack Foundation", Product: "OpenStack Nova"}, "", "OpenStack"},
		{source.Facts{Product: "OpenStack Compute"}, "", "OpenStack"},
		{source.Facts{Vendor: "QEMU", ChassisTag: "OpenTelekomCloud"}, "", "OpenStack"},
		{source.Facts{Vendor: "Hetzner", Product: "vServer"}, "", "Hetzner Cloud"},
		{source.Facts{Vendor: "DigitalOcean", Product: "Droplet"}, "", "DigitalOcean"},
		{source.Facts{}, "cyvive.platform=openstack", "OpenStack"},
		{source.Facts{Vendor: "DigitalOcean"}, "cyvive.platform=gcp", "Google Cloud"},
		{source.Facts{}, "cyvive.platform=azure cyvive.platform=azure", "Azure"},
		{source.Facts{}, "cyvive.platform=aws cyvive.platform=none", "error: kernel command line: cyvive.platform= is given twice, and differs"},
		{source.Facts{}, "cyvive.platform=ec2",
			`error: kernel command line: cyvive.platform="ec2", expected one of aws, azure, digitalocean, gcp, hetzner, openstack or none`},
	} {
		c.facts.Args = cmdline.Parse(c.line)
		s := source.New(source.Config{Facts: c.facts, Sys: t.TempDir(), Addressed: func() bool { return false }})
		doc, err := s.Find(t.Context())
		var waiting *machined.Waiting
		got := fmt.Sprintf("error: %v", err)
		if errors.As(err, &waiting) {
			got = strings.TrimSuffix(strings.TrimPrefix(waiting.For, "volumes to appear, before the metadata service of "), " is asked")
		}
		if doc != nil || got != c.want {
			t.Errorf("%+v: got %q, want %q", c.facts, got, c.want)
		}
	}
}

func TestReadFacts(t *testing.T) {
	sys := t.TempDir()
	if got := source.ReadFacts(sys, nil); cmp.Diff(source.Facts{}, got) != "" {
		t.Errorf("without DMI: %+v", got)
	}
	dir := filepath.Join(sys, "class/dmi/id")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"sys_vendor": "Amazon EC2\n", "product_name": " t3.micro \n", "chassis_asset_tag": "Amazon EC2\n", "product_serial": "ec2\n",
		"product_uuid": strings.Repeat("x", 5000), "board_asset_tag": "i-0\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	args := cmdline.Parse("quiet")
	want := source.Facts{Vendor: "Amazon EC2", Product: "t3.micro", ChassisTag: "Amazon EC2", Serial: "ec2", Args: args}
	if d := cmp.Diff(want, source.ReadFacts(sys, args)); d != "" {
		t.Errorf("facts (-want +got):\n%s", d)
	}
}

// TestWhere: whoever wonders reads of every place, in their order, and of none that is not looked at.
func TestWhere(t *testing.T) {
	m := newMachine(t, true)
	want := "user-data, " + m.web.URL + "/config, drive, the user data of AWS, an OEM string dev.cyvive.config= of SMBIOS or QEMU's fw_cfg file opt/dev.cyvive.config"
	if d := cmp.Diff(want, m.Where()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	s := source.New(source.Config{NoCloud: m.nocloud, Sys: t.TempDir()})
	if d := cmp.Diff("user-data, an OEM string dev.cyvive.config= of SMBIOS or QEMU's fw_cfg file opt/dev.cyvive.config", s.Where()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
