package machined

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/server"
)

// compose makes the documents of a request: what it gives, or the current ones; with the current secrets in the place of those that are not shown;
// and with the patch. Secrets that are sealed stay so in the documents, and are opened in the configuration.
func compose(current []byte, d server.ConfigDocument, open config.Opener) ([]byte, *config.Config, error) {
	name, given := cmp.Or(d.Name, "configuration"), []byte(d.Document)
	switch {
	case d.Document == "" && d.Patch == "":
		return nil, nil, fmt.Errorf("%w: neither a document nor a patch was given", server.ErrInvalid)
	case d.Document == "":
		name, given = "the current configuration with the patch", current
	}
	data, err := given, error(nil)
	if bytes.Contains(data, []byte(config.Redacted)) {
		data, err = config.Restore(data, current)
	}
	if err == nil && d.Patch != "" {
		if data, err = config.Merge(data, []byte(d.Patch)); err == nil && strings.Contains(d.Patch, config.Redacted) {
			data, err = config.Restore(data, current)
		}
	}
	if err != nil {
		return nil, nil, named(name, err)
	}
	cfg, err := config.ParseSealed(name, data, open)
	if err != nil {
		return nil, nil, inPlace(err, name, given, open, d.Patch != "" || !bytes.Equal(data, given))
	}
	return data, cfg, nil
}

// named gives mistakes of documents that could not be read the file's name.
func named(name string, err error) error {
	var all config.Errors
	if !errors.As(err, &all) {
		return fmt.Errorf("%w: %w", server.ErrInvalid, err)
	}
	for _, e := range all {
		if e.File != "patch" {
			e.File = name
		}
	}
	return all
}

// inPlace gives mistakes of documents that were written anew the lines that their fields have in those that were given. Where these have no such
// mistake, no line is said.
func inPlace(err error, name string, given []byte, open config.Opener, rewritten bool) error {
	var all, original config.Errors
	if !rewritten || !errors.As(err, &all) {
		return err
	}
	_, parseErr := config.ParseSealed(name, given, open)
	errors.As(parseErr, &original)
	for _, e := range all {
		e.Line = 0
		if i := slices.IndexFunc(original, func(o *config.Error) bool { return o.Field == e.Field }); i >= 0 {
			e.Line = original[i].Line
		}
	}
	return all
}
