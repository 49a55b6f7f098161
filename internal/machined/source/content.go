package source

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"

	"github.com/cyvive/cyvive/internal/machined"
	"github.com/cyvive/cyvive/internal/machined/config"
)

// group is in every document of a node's configuration.
const group = "cyvive.dev/"

// maxRawBytes is what documents of the largest size have in base64, with line breaks.
const maxRawBytes = config.MaxBytes * 3 / 2

// document takes what a place holds as documents of this node; at names the place. The error begins with it.
func document(at string, data []byte) (*machined.Document, error) {
	plain, err := decoded(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", at, err)
	}
	if len(plain) > config.MaxBytes {
		return nil, fmt.Errorf("%s: it has more than %d bytes, the most that a configuration may have", at, config.MaxBytes)
	}
	if what := foreign(plain); what != "" {
		return nil, fmt.Errorf("%s: it holds %s, expected documents with apiVersion %s", at, what, config.APIVersion)
	}
	return &machined.Document{Name: at, Data: plain}, nil
}

// gzipMagic begins each member (RFC 1952 section 2.3.1); 8 is deflate.
var gzipMagic = []byte{0x1f, 0x8b, 8}

// decoded undoes base64 and then gzip, one layer of each; of what is compressed it gives one byte more than a configuration may have at most. What
// is neither stays as it is: a document has spaces and colons, which base64 has not.
func decoded(data []byte) ([]byte, error) {
	if raw, ok := unwrapped(data); ok {
		data = raw
	}
	if !bytes.HasPrefix(data, gzipMagic) {
		return data, nil
	}
	reader, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	plain, err := io.ReadAll(io.LimitReader(reader, config.MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	return plain, nil
}

// unwrapped undoes base64 (RFC 4648 section 4, with line breaks anywhere) if documents or gzip are in it.
func unwrapped(data []byte) ([]byte, bool) {
	raw, err := base64.StdEncoding.DecodeString(string(bytes.Join(bytes.Fields(data), nil)))
	if err != nil || !bytes.HasPrefix(raw, gzipMagic) && !bytes.Contains(raw, []byte(group)) {
		return nil, false
	}
	return raw, true
}

// forms are what other programs take, by how it begins; cloud-init's are those of its documentation, "User-data formats".
func forms() []struct{ begin, what string } {
	return []struct{ begin, what string }{
		{"#cloud-config", "a configuration for cloud-init (#cloud-config)"},
		{"#cloud-boothook", "a script for cloud-init (#cloud-boothook)"},
		{"#part-handler", "a program for cloud-init (#part-handler)"},
		{"#include", "a list of URLs for cloud-init (#include)"},
		{"## template:", "a template for cloud-init"},
		{"content-type: multipart/", "parts for cloud-init (MIME)"},
		{"mime-version:", "parts for cloud-init (MIME)"},
		{"#!", "a script (#!)"},
		{"<powershell>", "a script for Windows"},
		{"<script>", "a script for Windows"},
		{"<!doctype html", "a web page"},
		{"<html", "a web page"},
		{"<?xml", "an XML document"},
	}
}

// foreign names what is clearly meant for another program; the empty text is that it may be for this one.
func foreign(data []byte) string {
	if bytes.Contains(data, []byte(group)) {
		return "" // for the parser, which says what is wrong with it
	}
	text := bytes.TrimSpace(bytes.TrimPrefix(data, []byte("\ufeff")))
	begin := bytes.ToLower(text[:min(len(text), 64)])
	for _, form := range forms() {
		if bytes.HasPrefix(begin, []byte(form.begin)) {
			return form.what
		}
	}
	switch {
	case bytes.HasPrefix(text, []byte("{")) && bytes.Contains(text, []byte(`"ignition"`)):
		return "a configuration for Ignition"
	case bytes.IndexByte(text, 0) >= 0:
		return "no text"
	}
	return ""
}
