package kube

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/cyvive/cyvive/internal/pki"
)

// Registries is where the images of pods come from. The zero value stands for the registries that the images name, which show certificates of public
// authorities. What is given has been checked: it is written into files as it is.
type Registries struct {
	// CA are authorities of all of them and of all mirrors, PEM; empty is none.
	CA string
	// Entries have different names.
	Entries []Registry
}

// AnyRegistry is the name of the entry for all registries that have none; it has neither authorities nor an account.
const AnyRegistry = "*"

// Registry is one server of images.
type Registry struct {
	// Name is AnyRegistry, or the host that images name, with its port.
	Name string
	// Mirrors are URLs of servers that are asked before it, in this order. That one has an account, and authorities of its own, an entry of its host says.
	Mirrors []string
	// CA are its authorities, PEM; empty is none.
	CA string
	// Username is empty where it is to be shown nothing.
	Username string
	Password pki.Secret
}

// Names in the folder of registries (containerd's docs/hosts.md): a folder for each, with hosts.toml, which is read at each pull.
const (
	anyRegistryDir = "_default"
	hostsFile      = "hosts.toml"
	authoritiesPEM = "ca.pem"
)

// mirrorDial is how long a mirror may take to be connected to: a registry is not to be out of reach for long because a mirror is.
const mirrorDial = "10s"

// registryFiles returns the files of the folder of registries, by their paths in it. They hold passwords.
func registryFiles(r Registries) map[string]string {
	files := map[string]string{}
	if r.CA != "" {
		files[path.Join(anyRegistryDir, authoritiesPEM)] = r.CA
		files[path.Join(anyRegistryDir, hostsFile)] = r.hosts(Registry{Name: AnyRegistry})
	}
	for _, e := range r.Entries {
		if e.CA != "" {
			files[path.Join(registryDir(e.Name), authoritiesPEM)] = e.CA
		}
		files[path.Join(registryDir(e.Name), hostsFile)] = r.hosts(e)
	}
	return files
}

// registryDir is the folder of a registry. A colon would be taken as it is, too; this is what containerd looks for first.
func registryDir(name string) string {
	if name == AnyRegistry {
		return anyRegistryDir
	}
	if i := strings.LastIndexByte(name, ':'); i > 0 {
		return name[:i] + "_" + name[i+1:] + "_"
	}
	return name
}

// hosts is hosts.toml of an entry. The server itself is always named, as containerd does not judge the certificate of one called localhost otherwise. That of
// AnyRegistry is the one that the image names.
func (r Registries) hosts(e Registry) string {
	var b strings.Builder
	if e.Name != AnyRegistry {
		server := e.Name
		if server == "docker.io" {
			server = "registry-1.docker.io" // it serves the images of that name
		}
		b.WriteString("server = " + strconv.Quote("https://"+server) + "\n")
	}
	r.access(&b, "", e)
	for _, m := range e.Mirrors {
		table := "host." + strconv.Quote(m)
		// No tags are pushed to mirrors. Which image a tag means is theirs to say.
		fmt.Fprintf(&b, "\n[%s]\ncapabilities = [\"pull\", \"resolve\"]\ndial_timeout = %q\n", table, mirrorDial)
		u, err := url.Parse(m)
		if err != nil {
			continue // it has been checked
		}
		if strings.HasPrefix(u.Path, "/v2/") && strings.Trim(u.Path, "/") != "v2" {
			b.WriteString("override_path = true\n")
		}
		r.access(&b, table+".", r.entry(u.Host))
	}
	return b.String()
}

// access writes the authorities and the account of a server. The account goes to its host alone, and where that has its tokens given out.
func (r Registries) access(b *strings.Builder, table string, e Registry) {
	var ca []string
	if r.CA != "" {
		ca = append(ca, strconv.Quote(path.Join("..", anyRegistryDir, authoritiesPEM)))
	}
	if e.CA != "" {
		ca = append(ca, strconv.Quote(path.Join("..", registryDir(e.Name), authoritiesPEM)))
	}
	if len(ca) > 0 {
		b.WriteString("ca = [" + strings.Join(ca, ", ") + "]\n")
	}
	if e.Username != "" {
		account := base64.StdEncoding.EncodeToString([]byte(e.Username + ":" + string(e.Password)))
		fmt.Fprintf(b, "[%sheader]\nAuthorization = \"Basic %s\"\n", table, account)
	}
}

// entry returns what is said of a host, or the zero Registry.
func (r Registries) entry(host string) Registry {
	for _, e := range r.Entries {
		if strings.TrimSuffix(e.Name, ":443") == strings.TrimSuffix(host, ":443") {
			return e
		}
	}
	return Registry{}
}

// The plane's root can write in the folder, whatever its mount says. So it is worked in through a [os.Root], out of which no link leads, no pipe is waited
// for, and what is not to be there is taken away.

// registriesStale tells whether the folder holds something else than these files. One that cannot be read does: whoever writes it then tells why.
func registriesStale(dir string, files map[string]string) bool {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return len(files) > 0 || !errors.Is(err, fs.ErrNotExist)
	}
	defer root.Close()
	if strange, err := strangers(root, files); err != nil || len(strange) > 0 {
		return true
	}
	for name, content := range files {
		if !holdsIn(root, name, content) {
			return true
		}
	}
	return false
}

// writeRegistries brings the folder to these files. Each is replaced in one step, the authorities before what names them.
func writeRegistries(dir string, files map[string]string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the folder of registries: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open the folder of registries: %w", err)
	}
	defer root.Close()
	strange, err := strangers(root, files)
	if err != nil {
		return err
	}
	for _, name := range strange {
		if err := root.RemoveAll(name); err != nil {
			return fmt.Errorf("clear the folder of registries: %w", err)
		}
	}
	names := slices.SortedFunc(maps.Keys(files), func(a, b string) int {
		return strings.Compare(path.Base(a)+"/"+a, path.Base(b)+"/"+b)
	})
	for _, name := range names {
		if holdsIn(root, name, files[name]) {
			continue
		}
		if err := replaceIn(root, name, files[name]); err != nil {
			return fmt.Errorf("write %s of the folder of registries: %w", name, err)
		}
	}
	return nil
}

// strangers are the paths of all that is in the folder and is neither a wanted file nor a folder of one. Below one of them nothing more is listed.
func strangers(root *os.Root, files map[string]string) ([]string, error) {
	dirs := map[string]bool{".": true}
	for name := range files {
		dirs[path.Dir(name)] = true
	}
	var out []string
	err := fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		_, wanted := files[name]
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case d.IsDir() && dirs[name], d.Type().IsRegular() && wanted:
			return nil
		}
		out = append(out, name)
		if d.IsDir() {
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the folder of registries: %w", err)
	}
	return out, nil
}

func holdsIn(root *os.Root, name, content string) bool {
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return false
	}
	data, err := io.ReadAll(io.LimitReader(f, int64(len(content))+1))
	return err == nil && string(data) == content
}

// replaceIn writes a file, for the owner alone, in one step.
func replaceIn(root *os.Root, name, content string) error {
	if err := root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return err
	}
	temp := name + ".new"
	if err := root.RemoveAll(temp); err != nil {
		return err
	}
	f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	if err = errors.Join(err, f.Close()); err == nil {
		err = root.Rename(temp, name)
	}
	return err
}
