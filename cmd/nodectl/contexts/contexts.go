package contexts

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/cyvive/cyvive/cmd/nodectl/secretfile"
)

// DefaultPort is the node API's.
const DefaultPort = "50000"

// ErrNoContext is returned where a context is needed and none is chosen.
var ErrNoContext = errors.New("no context")

// File is all contexts and the one in use.
type File struct {
	Current  string              `yaml:"current"`
	Contexts map[string]*Context `yaml:"contexts"`
}

// Context is how to reach one cluster's nodes.
type Context struct {
	// Nodes are the addresses of the nodes, HOST:PORT, HOST, or what vsockScheme begins.
	Nodes []string `yaml:"nodes"`
	// CA is the authority of the nodes, PEM.
	CA string `yaml:"ca"`
	// Certificate and Key are the client's, PEM.
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
}

// Path is where the file is. Getenv is os.Getenv.
func Path(getenv func(string) string) (string, error) {
	if path := getenv("NODECTL_CONFIG"); path != "" {
		return path, nil
	}
	dir := getenv("XDG_CONFIG_HOME")
	if dir == "" {
		home := getenv("HOME")
		if home == "" {
			return "", errors.New("find contexts: neither NODECTL_CONFIG nor HOME is set")
		}
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "cyvive", "nodectl.yaml"), nil
}

// Load reads the file at path; there need not be one.
func Load(path string) (*File, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &File{Contexts: map[string]*Context{}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read contexts: %w", err)
	}
	f, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("read contexts: %s: %w", path, err)
	}
	return f, nil
}

// Parse reads the file's text. Unknown fields are errors; each context is
// checked to hold what a call needs.
func Parse(data []byte) (*File, error) {
	f := &File{}
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(f); err != nil && !errors.Is(err, io.EOF) {
		// The library puts each mistake on a line of its own.
		return nil, errors.New(strings.Join(strings.Fields(strings.TrimPrefix(err.Error(), "yaml: ")), " "))
	}
	if f.Contexts == nil {
		f.Contexts = map[string]*Context{}
	}
	for _, name := range f.Names() {
		if err := f.Contexts[name].check(); err != nil {
			return nil, fmt.Errorf("context %q: %w", name, err)
		}
	}
	return f, nil
}

func (c *Context) check() error {
	if c == nil || len(c.Nodes) == 0 {
		return errors.New("nodes is empty, expected the address of one node at least")
	}
	for _, node := range c.Nodes {
		if _, err := Address(node); err != nil {
			return fmt.Errorf("nodes: %w", err)
		}
	}
	if _, err := c.Authority(); err != nil {
		return err
	}
	_, err := c.Pair()
	return err
}

// Authority is the pool that verifies the nodes.
func (c *Context) Authority() (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(c.CA)) {
		return nil, errors.New("ca: no certificate in it, expected PEM")
	}
	return pool, nil
}

// Pair is the client's certificate with its key.
func (c *Context) Pair() (tls.Certificate, error) {
	pair, err := tls.X509KeyPair([]byte(c.Certificate), []byte(c.Key))
	if err != nil {
		// The cause never holds the key, only what is wrong with it.
		return tls.Certificate{}, fmt.Errorf("certificate and key: %w", err)
	}
	return pair, nil
}

// ClientTLS is what connects to a node as the client.
func (c *Context) ClientTLS() (*tls.Config, error) {
	pool, err := c.Authority()
	if err != nil {
		return nil, err
	}
	pair, err := c.Pair()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		RootCAs:    pool,
		// Sent whatever authorities the node lists, so that a wrong one is
		// refused with the node's reason.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil },
	}, nil
}

// vsockScheme begins the address of a virtual machine of this host: vsock://CID or vsock://CID:PORT, with the context ID that the hypervisor has given it (vsock(7)).
const vsockScheme = "vsock://"

const (
	// firstGuest is the least context ID of a virtual machine, below which are those of the hypervisor, this machine and the host. The largest number is that of any.
	firstGuest = 3
	anyGuest   = 1<<32 - 1
)

// Vsock returns context ID and port of an address that Address has completed; ok is false for one of a network.
func Vsock(address string) (cid, port uint32, ok bool) {
	rest, ok := strings.CutPrefix(address, vsockScheme)
	if !ok {
		return 0, 0, false
	}
	id, at, _ := strings.Cut(rest, ":")
	c, errID := strconv.ParseUint(id, 10, 32)
	p, errPort := strconv.ParseUint(at, 10, 32)
	return uint32(c), uint32(p), errID == nil && errPort == nil && c >= firstGuest && c != anyGuest && p != 0
}

// Address completes a node's address with the port.
func Address(node string) (string, error) {
	if rest, ok := strings.CutPrefix(node, vsockScheme); ok {
		if !strings.Contains(rest, ":") {
			node += ":" + DefaultPort
		}
		if _, _, ok := Vsock(node); !ok {
			return "", fmt.Errorf("address %q: expected vsock://CID or vsock://CID:PORT, with the context ID of a virtual machine of this host", node)
		}
		return node, nil
	}
	host, port := node, DefaultPort
	// More than one colon and no bracket is an IPv6 address without a port.
	if strings.HasPrefix(node, "[") || strings.Count(node, ":") == 1 {
		var err error
		if host, port, err = net.SplitHostPort(node); err != nil {
			return "", fmt.Errorf("address %q: expected HOST or HOST:PORT", node)
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" || strings.ContainsAny(host, "[]/ \t\n") {
		return "", fmt.Errorf("address %q: expected HOST or HOST:PORT", node)
	}
	return net.JoinHostPort(host, port), nil
}

// Names returns the names of the contexts, sorted.
func (f *File) Names() []string { return slices.Sorted(maps.Keys(f.Contexts)) }

// Select returns the named context, or the current one if the name is empty.
func (f *File) Select(name string) (string, *Context, error) {
	if name == "" {
		name = f.Current
	}
	if name == "" {
		return "", nil, ErrNoContext
	}
	c, ok := f.Contexts[name]
	if !ok {
		return "", nil, fmt.Errorf("%w %q: there are %s", ErrNoContext, name, f.list())
	}
	return name, c, nil
}

func (f *File) list() string {
	if len(f.Contexts) == 0 {
		return "none"
	}
	return strings.Join(f.Names(), ", ")
}

// Merge takes in the contexts of another file, and its current one. A context
// that both have is replaced only with force, unless it is the same.
func (f *File) Merge(other *File, force bool) error {
	for _, name := range other.Names() {
		mine, both := f.Contexts[name]
		if both && !force && !mine.equal(other.Contexts[name]) {
			return fmt.Errorf("merge contexts: there is another %q already", name)
		}
	}
	maps.Copy(f.Contexts, other.Contexts)
	if other.Current != "" {
		f.Current = other.Current
	}
	return nil
}

func (c *Context) equal(o *Context) bool {
	return slices.Equal(c.Nodes, o.Nodes) && c.CA == o.CA && c.Certificate == o.Certificate && c.Key == o.Key
}

// Remove forgets a context. If it was the current one, none is then.
func (f *File) Remove(name string) error {
	if _, ok := f.Contexts[name]; !ok {
		return fmt.Errorf("remove context: %w %q: there are %s", ErrNoContext, name, f.list())
	}
	delete(f.Contexts, name)
	if f.Current == name {
		f.Current = ""
	}
	return nil
}

// Marshal writes the file's text.
func (f *File) Marshal() ([]byte, error) {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := errors.Join(e.Encode(f), e.Close()); err != nil {
		return nil, fmt.Errorf("encode contexts: %w", err)
	}
	return b.Bytes(), nil
}

// Save replaces the file at path, mode 0600.
func (f *File) Save(path string) error {
	data, err := f.Marshal()
	if err != nil {
		return err
	}
	return secretfile.Write(path, data)
}
