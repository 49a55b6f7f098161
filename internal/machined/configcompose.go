package machined

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"

	"github.com/cyvive/cyvive/internal/machined/config"
	"github.com/cyvive/cyvive/internal/machined/server"
)

// compose makes the documents of a request: what it gives, or the current ones, with the patch; and with the current secrets in the place of those that are
// not shown. Mistakes have their places in what was given. Secrets that are sealed stay so in the documents, and are opened in the configuration.
func compose(current []byte, d server.ConfigDocument, open config.Opener) ([]byte, *config.Config, error) {
	base := config.Given{Name: cmp.Or(d.Name, "configuration"), Data: []byte(d.Document)}
	patch := config.Given{Name: cmp.Or(d.PatchName, config.PatchFile), Data: []byte(d.Patch)}
	switch {
	case d.Document == "" && d.Patch == "":
		return nil, nil, fmt.Errorf("%w: neither a document nor a patch was given", server.ErrInvalid)
	case d.Document == "":
		base = config.Given{Name: "the current configuration", Data: current}
	}
	data, err := base.Data, error(nil)
	if d.Document == "" {
		// By a patch, too, a secret does not come to another host or authority than it was given for.
		data, err = config.Redact(current)
	}
	if err == nil && d.Patch != "" {
		data, err = config.Merge(data, patch.Data)
	}
	if err == nil && bytes.Contains(data, []byte(config.Redacted)) {
		data, err = config.Restore(data, current)
	}
	if err != nil {
		return nil, nil, named(base.Name, patch.Name, err)
	}
	cfg, err := config.ParseSealed(base.Name, data, open)
	if err != nil {
		var mistakes config.Errors
		if errors.As(err, &mistakes) && (d.Patch != "" || !bytes.Equal(data, base.Data)) {
			config.Locate(mistakes, data, base, patch, open)
		}
		return nil, nil, err
	}
	return data, cfg, nil
}

// named gives mistakes of documents that could not be read the name of the file that they are in: the patch's, or that of what it goes onto.
func named(base, patch string, err error) error {
	var all config.Errors
	if !errors.As(err, &all) {
		return fmt.Errorf("%w: %w", server.ErrInvalid, err)
	}
	for _, e := range all {
		if e.File == config.PatchFile {
			e.File = patch
		} else {
			e.File = base
		}
	}
	return all
}
