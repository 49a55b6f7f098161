package source

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/cyvive/cyvive/internal/machined"
	"github.com/cyvive/cyvive/internal/machined/boot/cmdline"
	"github.com/cyvive/cyvive/internal/machined/maintenance"
)

// Config is what the sources are made of. Facts and Sys are needed.
type Config struct {
	Facts Facts
	// Sys is where sysfs is mounted.
	Sys string
	// Image is the file of the image that names the node's owner; there need not be one.
	Image string
	// NoCloud and ConfigDrive look at volumes. A nil one is left out. What the drive holds may be compressed, as user data of its platform may.
	NoCloud, ConfigDrive machined.Place
	// Addressed tells whether the machine has an address to ask servers from; nil looks at its links.
	Addressed func() bool
	// Bases returns the URLs at which a platform's service answers, given those that it is documented to have; nil returns these.
	Bases func(platform string, documented []string) []string
	// Timeout is that of one request; zero is ten seconds.
	Timeout time.Duration
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Sources finds the configuration in the first place that holds one, and what the places say of the node's owner. It implements [machined.Source].
type Sources struct {
	places []machined.Place
	// image is the file of the image that names the owner, sys where sysfs is, and args the kernel command line.
	image, sys string
	args       cmdline.Args
	// told is what the places said of the owner when Find looked last, and passphrase the first that they gave then.
	told       []maintenance.Claim
	passphrase machined.Passphrase
}

var _ machined.Source = (*Sources)(nil)

// New returns the places of the machine that the facts describe. What is wrong with the kernel command line is an error of Find, in the place of
// what it asks for.
func New(cfg Config) *Sources {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Addressed == nil {
		cfg.Addressed = addressed
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	if cfg.Bases == nil {
		cfg.Bases = func(_ string, documented []string) []string { return documented }
	}
	s := &Sources{image: cfg.Image, sys: cfg.Sys, args: cfg.Facts.Args}
	s.add(cfg.NoCloud)
	s.add(cfg.url())
	if cfg.ConfigDrive != nil {
		s.add(wrapped{cfg.ConfigDrive})
	}
	s.add(cfg.metadata())
	s.add(oemString{cfg.Sys})
	s.add(fwCfg{cfg.Sys})
	return s
}

func (s *Sources) add(place machined.Place) {
	if place != nil {
		s.places = append(s.places, place)
	}
}

// Find looks at the places in their order, until one holds a configuration or fails. What names the owner, or gives the passphrase of the disk, and no more is
// no configuration.
func (s *Sources) Find(ctx context.Context) (*machined.Document, error) {
	s.told, s.passphrase = nil, machined.Passphrase{}
	for _, place := range s.places {
		doc, err := place.Find(ctx)
		if err != nil {
			s.told = append(s.told, maintenance.Claim{From: place.Where(), Problem: err.Error()})
			return nil, err
		}
		if doc = s.takePassphrase(s.takeOwner(doc)); doc != nil {
			return doc, nil
		}
	}
	return nil, nil
}

// Where lists the places.
func (s *Sources) Where() string {
	var all []string
	for _, place := range s.places {
		all = append(all, place.Where())
	}
	if len(all) < 2 {
		return strings.Join(all, "")
	}
	return strings.Join(all[:len(all)-1], ", ") + " or " + all[len(all)-1]
}

// url returns the place that the kernel command line names, or nil if it names none.
func (c Config) url() machined.Place {
	pinned, err := parseURL(c.Facts.Args)
	if err != nil {
		return broken{err, "the URL of the kernel command line"}
	}
	if pinned == nil {
		return nil
	}
	client := newClient(c.Timeout, pinned.tls())
	return c.remote("the configuration", pinned.at(), func(ctx context.Context) (*machined.Document, error) { return pinned.fetch(ctx, client) })
}

// metadata returns the service of the platform, or nil if the machine is on none that is known.
func (c Config) metadata() machined.Place {
	p, err := c.Facts.platform()
	if err != nil {
		return broken{err, "the user data of the platform that the kernel command line names"}
	}
	if p == nil {
		return nil
	}
	client := newClient(c.Timeout, &tls.Config{MinVersion: tls.VersionTLS12})
	bases := c.Bases(p.name, p.bases)
	return c.remote("the metadata service of "+p.title, "the user data of "+p.title,
		func(ctx context.Context) (*machined.Document, error) { return p.find(ctx, client, bases) })
}

// broken is a place that cannot be looked at, since what it asks for is wrong.
type broken struct {
	err   error
	where string
}

func (b broken) Find(context.Context) (*machined.Document, error) { return nil, b.err }
func (b broken) Where() string                                    { return b.where }

// wrapped is a place whose documents may be compressed, or for another program.
type wrapped struct{ machined.Place }

func (w wrapped) Find(ctx context.Context) (*machined.Document, error) {
	doc, err := w.Place.Find(ctx)
	if doc == nil || err != nil {
		return nil, err
	}
	return document(doc.Name, doc.Data)
}

// addressed tells whether a link has an address at which another machine's answer arrives.
func addressed() bool {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().IsGlobalUnicast() {
			return true
		}
	}
	return false
}

// found is what a server holds; data is nil if that is nothing.
type found struct {
	// at is the URL, which names the document in errors.
	at   string
	data []byte
}

func (f found) document() (*machined.Document, error) {
	if f.data == nil {
		return nil, nil
	}
	return document(f.at, f.data)
}
