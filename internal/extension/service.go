package extension

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/internal/confine"
)

// Service is the program of an extension, and all that it gets of the node.
type Service struct {
	// Program is an absolute path in the service's root, Args are its arguments without its name.
	Program string   `json:"program"`
	Args    []string `json:"args,omitempty"`
	// Env is its environment, as NAME=value. There is nothing else in it.
	Env []string `json:"env,omitempty"`
	// User is the user and group that it runs as, of those that are kept for extensions. Services that run on one node have different ones.
	User uint32 `json:"user"`
	// Capabilities and Paths are out of confine.ExtensionCapabilities and ExtensionPaths.
	Capabilities []string `json:"capabilities,omitempty"`
	Paths        []string `json:"paths,omitempty"`
	// Data gives it a directory of its own at /data, which outlives the boot.
	Data bool `json:"data,omitempty"`
}

// DataDir is where a service has its own directory.
const DataDir = "/data"

// ServiceName is the name of an extension's service among the node's.
func ServiceName(extension string) string { return servicePrefix + extension }

const servicePrefix = "ext-"

// IsServiceName says whether a service of the node is one of an extension.
func IsServiceName(s string) bool {
	name, ok := strings.CutPrefix(s, servicePrefix)
	return ok && IsName(name)
}

const (
	// maxWords bounds the arguments and the environment each, maxWordBytes one of them.
	maxWords     = 128
	maxWordBytes = 4096
)

var envPattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)

func (s Service) check() error {
	if !path.IsAbs(s.Program) || path.Clean(s.Program) != s.Program || s.Program == "/" || len(s.Program) > maxWordBytes {
		return fmt.Errorf("service.program %.80q is not a clean absolute path", s.Program)
	}
	for field, words := range map[string][]string{"args": s.Args, "env": s.Env} {
		if len(words) > maxWords {
			return fmt.Errorf("service.%s: %d words, more than %d", field, len(words), maxWords)
		}
		for _, w := range words {
			if len(w) > maxWordBytes || strings.ContainsRune(w, 0) {
				return fmt.Errorf("service.%s: a word of %d bytes, or with a zero in it; %d are taken", field, len(w), maxWordBytes)
			}
		}
	}
	for _, e := range s.Env {
		if !envPattern.MatchString(e) {
			return fmt.Errorf("service.env: %.40q is not of the form NAME=value", e)
		}
	}
	if s.User < confine.ExtensionUserFirst || s.User > confine.ExtensionUserLast {
		return fmt.Errorf("service.user %d is not between %d and %d, which are for extensions", s.User, confine.ExtensionUserFirst, confine.ExtensionUserLast)
	}
	allowed := confine.ExtensionCapabilities()
	for i, c := range s.Capabilities {
		if !slices.Contains(allowed, c) || slices.Contains(s.Capabilities[:i], c) {
			return fmt.Errorf("service.capabilities: %.40q is there twice, or is not one of %s", c, strings.Join(allowed, ", "))
		}
	}
	sources := confine.ExtensionPaths()
	for i, p := range s.Paths {
		if sources[p] == "" || slices.Contains(s.Paths[:i], p) {
			return fmt.Errorf("service.paths: %.80q is there twice, or is not a path that an extension may have", p)
		}
	}
	return nil
}
