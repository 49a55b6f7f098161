package sourcetest

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cyvive/cyvive/internal/machined"
	"github.com/cyvive/cyvive/internal/machined/config"
)

// Place is where a user leaves a configuration.
type Place interface {
	// Put leaves it there; nil takes it away.
	Put(data []byte)
}

// Subject is a source that looks at one place, and the place.
type Subject struct {
	Source machined.Place
	Place  Place
	// Server is the place if it is asked over the network, else nil; Clock is then the source's, and Address what it takes for the machine having
	// one.
	Server  *Server
	Clock   *Clock
	Address *Switch
	// Named is what each error about the place names it by.
	Named string
	// Promised is set where the place must hold something, since the node was told that it does.
	Promised bool
	// TextOnly is set where a place can keep no NUL.
	TextOnly bool
	// Verbatim is set where documents are taken as they are.
	Verbatim bool
}

// documents are what a place holds; secret is a part of it that no error may show.
const (
	secret    = "c2VjcmV0LWtleQ"
	documents = "apiVersion: cyvive.dev/v1alpha1\nkind: Machine\nhostname: node1 # " + secret + "\n"
)

// Conformance runs the suite. Open makes a subject whose requests take the given time at most.
func Conformance(t *testing.T, open func(t *testing.T, timeout time.Duration) Subject) {
	start := func(t *testing.T) Subject {
		s := open(t, time.Minute)
		s.settle(t)
		return s
	}
	t.Run("nothing", func(t *testing.T) { testNothing(t, start(t)) })
	t.Run("forms", func(t *testing.T) { testForms(t, start(t)) })
	t.Run("foreign", func(t *testing.T) { testForeign(t, start(t)) })
	t.Run("large", func(t *testing.T) { testLarge(t, start(t)) })
	t.Run("where", func(t *testing.T) {
		if where := start(t).Source.Where(); where == "" {
			t.Error("it says of no place that it looks there")
		}
	})
	if s := open(t, time.Second); s.Server != nil {
		testRemote(t, start, open)
	}
}

// settle takes a source over the time for which it asks nobody.
func (s Subject) settle(t *testing.T) {
	t.Helper()
	if s.Server == nil {
		return
	}
	s.expectWaiting(t, "volumes")
	s.Clock.Advance(5 * time.Second)
	s.expectRequests(t, 0)
}

func testNothing(t *testing.T, s Subject) {
	for _, nothing := range [][]byte{nil, {}, []byte(" \n")} {
		s.Place.Put(nothing)
		if doc, err := s.find(t); s.Promised {
			s.checkWaiting(t, doc, err, "has nothing there")
		} else if doc != nil || err != nil {
			t.Errorf("with %q: got %v, %v, want nothing", nothing, doc, err)
		}
	}
	s.Place.Put([]byte(documents))
	s.expectDocuments(t, documents)
}

func testForms(t *testing.T, s Subject) {
	forms := map[string][]byte{"plain": []byte(documents)}
	if !s.Verbatim {
		small := compressed(t, documents)
		forms["base64"] = wrap([]byte(documents), "\n")
		forms["compressed, in base64"] = wrap(small, "\r\n")
		if !s.TextOnly {
			forms["compressed"] = small
		}
	}
	for name, data := range forms {
		t.Run(name, func(t *testing.T) {
			s.Place.Put(data)
			s.expectDocuments(t, documents)
		})
	}
	if s.Verbatim {
		return
	}
	small := compressed(t, documents)
	for name, data := range map[string][]byte{"half of it": small[:len(small)/2], "a changed sum": append(small[:len(small)-8:len(small)-8], make([]byte, 8)...)} {
		t.Run(name, func(t *testing.T) {
			s.Place.Put(wrap(data, ""))
			s.expectError(t, "decompress")
		})
	}
}

func testForeign(t *testing.T, s Subject) {
	if s.Verbatim {
		t.Skip("its documents are taken as they are")
	}
	for begin, want := range map[string]string{
		"#cloud-config\npassword: ":                             "cloud-init",
		"#!/bin/sh\necho ":                                      "a script",
		"Content-Type: multipart/mixed; boundary=a\n\n":         "MIME",
		"## template: jinja\n#cloud-config\n":                   "a template",
		`{"ignition": {"version": "3.4.0"}, "x": "`:             "Ignition",
		"\ufeff<html>":                                          "a web page",
		"<powershell>\n":                                        "Windows",
		string(wrap(compressed(t, "#cloud-config\na: "), "\n")): "cloud-init",
	} {
		t.Run(want, func(t *testing.T) {
			if !strings.HasPrefix(begin, "H4s") {
				begin += secret
			}
			s.Place.Put([]byte(begin))
			s.expectError(t, want)
			s.expectError(t, "expected documents with apiVersion "+config.APIVersion)
		})
	}
	s.Place.Put([]byte(documents))
	s.expectDocuments(t, documents)
}

func testLarge(t *testing.T, s Subject) {
	most := documents + strings.Repeat("#", config.MaxBytes-len(documents))
	s.Place.Put([]byte(most))
	s.expectDocuments(t, most)
	s.Place.Put([]byte(most + "#"))
	s.expectTooLarge(t)
	if s.Verbatim {
		return
	}
	s.Place.Put(wrap(compressed(t, most), ""))
	s.expectDocuments(t, most)
	s.Place.Put(wrap(compressed(t, strings.Repeat(most, 3)), ""))
	s.expectTooLarge(t)
}

// expectTooLarge wants an error of the source, or data that the parser refuses for its size.
func (s Subject) expectTooLarge(t *testing.T) {
	t.Helper()
	doc, err := s.find(t)
	if doc != nil && len(doc.Data) == config.MaxBytes+1 && err == nil {
		return
	}
	if doc != nil || err == nil || !strings.Contains(err.Error(), "1048576") {
		t.Errorf("what is too large: got %d bytes, %v, want an error that names the limit", size(doc), err)
	}
}

// find looks, later than any pause.
func (s Subject) find(t *testing.T) (*machined.Document, error) {
	t.Helper()
	if s.Clock != nil {
		s.Clock.Advance(time.Hour)
	}
	doc, err := s.Source.Find(t.Context())
	if err != nil && strings.Contains(err.Error(), secret) {
		t.Errorf("the error shows what the documents say: %v", err)
	}
	return doc, err
}

func (s Subject) expectDocuments(t *testing.T, want string) {
	t.Helper()
	doc, err := s.find(t)
	if err != nil || doc == nil {
		t.Fatalf("got %v, %v, want the documents", doc, err)
	}
	if string(doc.Data) != want {
		t.Errorf("documents (-want +got):\n%s", cmp.Diff(want[:min(len(want), 500)], string(doc.Data[:min(len(doc.Data), 500)])))
	}
	if !strings.Contains(doc.Name, s.Named) {
		t.Errorf("the document is named %q, want %q in it", doc.Name, s.Named)
	}
}

// expectError wants an error that is not of waiting.
func (s Subject) expectError(t *testing.T, want string) {
	t.Helper()
	doc, err := s.find(t)
	var waiting *machined.Waiting
	if doc != nil || err == nil || errors.As(err, &waiting) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), s.Named) {
		t.Errorf("got %d bytes, %v, want an error with %q and %q", size(doc), err, want, s.Named)
	}
}

func size(doc *machined.Document) int {
	if doc == nil {
		return 0
	}
	return len(doc.Data)
}

func compressed(t *testing.T, text string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// wrap is base64 in lines.
func wrap(data []byte, end string) []byte {
	text := base64.StdEncoding.EncodeToString(data)
	if end == "" {
		return []byte(text)
	}
	var out bytes.Buffer
	for len(text) > 76 {
		out.WriteString(text[:76] + end)
		text = text[76:]
	}
	out.WriteString(text + end)
	return out.Bytes()
}

// canceled is a context that has ended.
func canceled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
