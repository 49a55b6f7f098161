package source

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/cyvive/cyvive/internal/machined"
)

// linkLocal is where the metadata services of all platforms answer.
const linkLocal = "http://169.254.169.254"

// platform is a cloud, and how its metadata service gives out user data.
type platform struct {
	// name is that of cyvive.platform=, and title the one for persons.
	name, title string
	// is recognises the platform's machines.
	is func(Facts) bool
	// bases are the URLs of the service; the next is tried when the one before cannot be reached.
	bases []string
	// fetch asks the service at one of them.
	fetch func(ctx context.Context, c *client, base string) (found, error)
}

// platforms returns all that are known. No machine is recognised by two.
func platforms() []platform {
	return []platform{aws(), azure(), digitalOcean(), gcp(), hetzner(), openStack()}
}

// find asks at one base after another until one is reached.
func (p *platform) find(ctx context.Context, c *client, bases []string) (*machined.Document, error) {
	var reasons []string
	for _, base := range bases {
		got, err := p.fetch(ctx, c, base)
		var t *trouble
		if errors.As(err, &t) && t.unreached {
			reasons = append(reasons, t.reason)
			continue
		}
		if err != nil {
			return nil, err
		}
		return got.document()
	}
	return nil, &trouble{reason: strings.Join(reasons, ", and at "), passing: true, unreached: true}
}

// get asks for one URL.
func get(ctx context.Context, c *client, url string, header map[string]string) (found, error) {
	a, err := c.ask(ctx, http.MethodGet, url, header)
	if err != nil {
		return found{}, err
	}
	at, _, _ := strings.Cut(url, "?")
	return found{at: at, data: a.body}, nil
}

// plain returns a fetch that asks for one path without further ado.
func plain(path string) func(context.Context, *client, string) (found, error) {
	return func(ctx context.Context, c *client, base string) (found, error) { return get(ctx, c, base+path, nil) }
}
