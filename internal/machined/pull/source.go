package pull

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
)

// Errors of a pull, for errors.Is.
var (
	// ErrSource: the text names no place that releases are pulled from.
	ErrSource = errors.New("not a source of releases")
	// ErrNone: the server has none there.
	ErrNone = errors.New("there is no release")
	// ErrRefused: the server does not give it to this node.
	ErrRefused = errors.New("the server refuses")
	// ErrUnfit: what is there is something else.
	ErrUnfit = errors.New("no artifact of a release")
	// ErrServer: the server cannot be reached, or does not do as it should. It may later.
	ErrServer = errors.New("cannot be fetched now")
)

// maxSourceBytes bounds the text of a source.
const maxSourceBytes = 4 << 10

// Source is where a release is. The zero Source is none.
type Source struct {
	// shown is the text without what only the server is meant to see.
	shown string
	// web is the URL of the file; nil for a registry.
	web *url.URL
	// base is the URL of a registry, repo the repository in it, ref a tag or a digest.
	base *url.URL
	repo string
	ref  string
	// digest is sha256: and 64 hexadecimal digits where the artifact is pinned.
	digest string
}

// String is the source without its query, which may hold a secret.
func (s Source) String() string { return s.shown }

// onNode says that the source names an address of the node itself.
func (s Source) onNode() bool {
	at := s.base
	if s.web != nil {
		at = s.web
	}
	if at == nil {
		return false
	}
	a, err := netip.ParseAddr(at.Hostname())
	return at.Hostname() == "localhost" || err == nil && a.Unmap().IsLoopback()
}

// The parts of a reference, by the OCI distribution specification 1.1, "Pulling manifests".
var (
	repoForm   = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagForm    = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
	digestForm = regexp.MustCompile(`^sha256:[a-f0-9]{64}$`)
)

// ParseSource reads the text of a source. The error is ErrSource and says what was expected.
func ParseSource(text string) (Source, error) {
	if len(text) > maxSourceBytes {
		return Source{}, fmt.Errorf("%w: a text of %d bytes, expected at most %d", ErrSource, len(text), maxSourceBytes)
	}
	u, err := url.Parse(text)
	if err != nil {
		return Source{}, fmt.Errorf("%w: %q is no URL", ErrSource, withoutQuery(text))
	}
	switch {
	case u.User != nil:
		return Source{}, fmt.Errorf("%w: it holds a user name; credentials belong into upgrade.sources of the node's configuration", ErrSource)
	case u.Fragment != "":
		return Source{}, fmt.Errorf("%w: %q has a part behind #, which no server gets to see", ErrSource, withoutQuery(text))
	case u.Hostname() == "":
		return Source{}, fmt.Errorf("%w: %q names no host", ErrSource, withoutQuery(text))
	}
	switch u.Scheme {
	case "http", "https":
		return Source{shown: withoutQuery(text), web: u}, nil
	case "oci":
		return registrySource(text, u, "https")
	case "oci+http":
		return registrySource(text, u, "http")
	}
	return Source{}, fmt.Errorf("%w: %q, expected https://, http://, oci:// or oci+http://", ErrSource, withoutQuery(text))
}

// withoutQuery is a text for errors.
func withoutQuery(text string) string {
	text, _, _ = strings.Cut(text, "?")
	return text[:min(len(text), 300)]
}

// registrySource reads host[:port]/repo[:tag][@digest].
func registrySource(text string, u *url.URL, scheme string) (Source, error) {
	if u.RawQuery != "" {
		return Source{}, fmt.Errorf("%w: %q has a query, which an artifact has not", ErrSource, withoutQuery(text))
	}
	s := Source{shown: withoutQuery(text), base: &url.URL{Scheme: scheme, Host: u.Host}}
	rest, digest, pinned := strings.Cut(strings.TrimPrefix(u.Path, "/"), "@")
	repo, tag, tagged := strings.Cut(rest, ":")
	switch {
	case !repoForm.MatchString(repo) || len(repo) > 255:
		return Source{}, fmt.Errorf("%w: repository %.100q, expected names in lower case with / between them", ErrSource, repo)
	case !tagged && !pinned:
		return Source{}, fmt.Errorf("%w: %q has neither tag nor digest, expected one, such as %s:1.1.0", ErrSource, s.shown, s.shown)
	case tagged && !tagForm.MatchString(tag):
		return Source{}, fmt.Errorf("%w: tag %.140q, expected at most 128 letters, digits, dots, dashes and underscores", ErrSource, tag)
	case pinned && !digestForm.MatchString(digest):
		return Source{}, fmt.Errorf("%w: digest %.80q, expected sha256: and 64 hexadecimal digits", ErrSource, digest)
	}
	s.repo, s.ref, s.digest = repo, tag, digest
	if pinned {
		s.ref = digest // the tag is for people then
	}
	return s, nil
}
