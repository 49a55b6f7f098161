package push

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
)

// ErrPassword says that a server would get the password that it is not for.
var ErrPassword = errors.New("it would get the registry's password, and is neither the registry nor named as where its tokens are given out")

// guard says who may have what the registry is shown.
type guard struct {
	// host is the registry, with its port if it has one, and tokens who else may be shown the password.
	host, tokens string
	// plain says that the registry has no TLS. All others need it.
	plain bool
}

func (g guard) isRegistry(u *url.URL) bool {
	return u.Host == g.host && (u.Scheme == "https" || g.plain)
}

func (g guard) givesTokens(u *url.URL) bool {
	return g.isRegistry(u) || g.tokens != "" && u.Host == g.tokens && u.Scheme == "https"
}

// tokenTransport is for requests of tokens, of which those that are no GET, or have a name, hold the password. It implements http.RoundTripper.
type tokenTransport struct{ guard }

// RoundTrip refuses them to others, also where a redirect leads there.
func (t tokenTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if _, _, named := r.BasicAuth(); (named || r.Method != http.MethodGet) && !t.givesTokens(r.URL) {
		if r.Body != nil {
			_ = r.Body.Close() // nobody has read of it
		}
		return nil, fmt.Errorf("%s: %w", r.URL.Host, ErrPassword)
	}
	return http.DefaultTransport.RoundTrip(r)
}

// registryTransport is for all else. It implements http.RoundTripper.
type registryTransport struct{ guard }

// RoundTrip shows neither password nor token to others than the registry, such as the storage that a redirect leads to.
func (t registryTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header.Get("Authorization") != "" && !t.isRegistry(r.URL) {
		r = r.Clone(r.Context())
		r.Header.Del("Authorization")
	}
	return http.DefaultTransport.RoundTrip(r)
}
