package main

import (
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/cyvive/cyvive/hack/release/bundle"
	"github.com/cyvive/cyvive/hack/release/diskimage"
	"github.com/cyvive/cyvive/hack/release/keys"
	"github.com/cyvive/cyvive/internal/trust/secureboot"
)

// load reads the keys of the given files, or the user's own. Of these the one for policies may be missing, in a folder that is older than such keys.
func load(key, policy string, getenv func(string) string) (bundle.Keys, error) {
	own := func(name string) (string, error) {
		dir, err := keys.Dir(getenv)
		return filepath.Join(dir, name), err
	}
	var signers bundle.Keys
	var err error
	if key == "" {
		if key, err = own(keys.PrivateFile); err != nil {
			return signers, err
		}
	}
	if signers.Release, err = keys.Load(key); err != nil {
		return signers, err
	}
	optional := policy == ""
	if optional {
		if policy, err = own(keys.PolicyPrivateFile); err != nil {
			return signers, nil // a user without a folder has no key in it
		}
	}
	if signers.Policy, err = keys.LoadPolicy(policy); err != nil && !(optional && errors.Is(err, fs.ErrNotExist)) {
		return signers, err
	}
	signers.SecureBoot, err = programSigner(getenv)
	return signers, err
}

// programSigner reads the key that signs what firmware starts, or returns nil where there is none.
func programSigner(getenv func(string) string) (*secureboot.Signer, error) {
	dir, err := keys.Dir(getenv)
	if err != nil {
		return nil, nil // a user without a folder has no key in it
	}
	signer, err := keys.ProgramSigner(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return signer, err
}

// diskOptions reads the keys for a disk image. Those of Secure Boot may be missing, in a folder that is older than they are.
func diskOptions(policy string, getenv func(string) string) (o diskimage.Options, err error) {
	own, err := keys.Dir(getenv)
	if policy == "" {
		if err != nil {
			return o, err
		}
		policy = filepath.Join(own, keys.PolicyPrivateFile)
	}
	if o.Keys.Policy, err = keys.LoadPolicy(policy); err != nil {
		return o, err
	}
	if o.Keys.SecureBoot, err = programSigner(getenv); err != nil || o.Keys.SecureBoot == nil {
		return o, err
	}
	o.Variables, err = keys.Variables(own)
	return o, err
}
