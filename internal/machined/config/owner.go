package config

import (
	"bytes"
	"errors"
	"io"
	"regexp"

	"go.yaml.in/yaml/v3"

	"github.com/cyvive/cyvive/internal/pki"
)

// ownerKind is the kind of a document that names the node's owner. It is no part of a configuration: it lies beside one, or in the place of one, where a node
// looks for its first, and is neither stored nor applied.
const ownerKind = "Owner"

// TakeOwner takes the document of kind Owner out of data, and returns the key that it names, nil if there is none. The rest is the other documents on the
// lines that they had, nil if there are none. The error is of type [Errors] and about the Owner document alone; what else is wrong is for Parse. Documents
// of a kind that others read stay as they are.
func TakeOwner(name string, data []byte) (owner *pki.Fingerprint, rest []byte, err error) {
	rest, err = takeAside(name, data, ownerKind, func(d *decoder, node *yaml.Node) { owner = d.owner(node) })
	if err != nil {
		return nil, rest, err
	}
	return owner, rest, nil
}

// takeAside takes the document of a kind out of data, which read then reads. The rest and the error are those of TakeOwner.
func takeAside(name string, data []byte, kind string, read func(*decoder, *yaml.Node)) (rest []byte, err error) {
	if len(data) > MaxBytes || !bytes.Contains(data, []byte(kind)) {
		return data, nil
	}
	d := &decoder{file: name}
	var out bytes.Buffer
	line, first, others := 1, 0, false
	for _, chunk := range splitDocuments(data) {
		found := d.asideDocument(chunk, line, kind, read)
		switch {
		case !found:
			out.Write(chunk)
			others = others || !isEmpty(chunk)
		case first != 0:
			d.fail(line, kind, "second document of this kind, expected only the one on line %d", first)
		default:
			first = line
		}
		if found {
			out.Write(bytes.Repeat([]byte("\n"), bytes.Count(chunk, []byte("\n"))))
		}
		line += bytes.Count(chunk, []byte("\n"))
	}
	if others {
		rest = out.Bytes()
	}
	if len(d.errs) > 0 {
		return rest, d.errs
	}
	return rest, nil
}

// splitDocuments cuts a stream before each line that begins a document ("---") and behind each that ends one ("..."): no such line is within a document
// (YAML 1.2.2, section 9.1.2).
func splitDocuments(data []byte) [][]byte {
	var chunks [][]byte
	start, at := 0, 0
	cut := func(end int) {
		if end > start {
			chunks, start = append(chunks, data[start:end]), end
		}
	}
	for line := range bytes.Lines(data) {
		if isMarker(line, "---") {
			cut(at)
		}
		at += len(line)
		if isMarker(line, "...") {
			cut(at)
		}
	}
	cut(at)
	return chunks
}

func isMarker(line []byte, marker string) bool {
	rest, ok := bytes.CutPrefix(line, []byte(marker))
	return ok && (len(rest) == 0 || bytes.IndexByte([]byte(" \t\r\n"), rest[0]) >= 0)
}

// meantAs finds the line of a document which cannot be read and was meant to be one of a kind.
func meantAs(kind string) *regexp.Regexp {
	return regexp.MustCompile(`(?m)^["']?kind["']?:[ \t]*["']?` + kind + `\b`)
}

// asideDocument reads a chunk that begins on a line of the file. Found says that it is a document of the kind, or was meant as one.
func (d *decoder) asideDocument(chunk []byte, line int, kind string, read func(*decoder, *yaml.Node)) (found bool) {
	stream := yaml.NewDecoder(bytes.NewReader(chunk))
	var nodes []*yaml.Node
	for {
		var doc yaml.Node
		err := stream.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			if !meantAs(kind).Match(chunk) {
				return false
			}
			at, problem := syntaxError(err)
			d.fail(line+max(at-1, 0), kind, "%s, expected YAML", problem)
			return true
		}
		if len(doc.Content) == 1 {
			nodes = append(nodes, doc.Content[0])
		}
	}
	for _, node := range nodes {
		if !namesKind(node, kind) {
			continue
		}
		if len(nodes) > 1 {
			d.fail(line, kind, "not told apart from other documents, expected UTF-8, and a line --- between documents")
			return true
		}
		shift(node, line-1)
		read(d, node)
		return true
	}
	return false
}

// owner reads the document.
func (d *decoder) owner(node *yaml.Node) *pki.Fingerprint {
	before := len(d.errs)
	o := d.object(node, ownerKind)
	o.requiredText("apiVersion", APIVersion, func(s string) bool { return s == APIVersion })
	o.take("kind")
	var key *pki.Fingerprint
	const expected = "the fingerprint SHA256:… of the owner's public key, or that key, as `nodectl owner show` prints them"
	if text, ok := o.scalar(o.require("key", expected), "key", expected); ok {
		f, err := pki.ParsePublic(text)
		if err != nil {
			o.fail("key", "%v; expected %s", err, expected)
		}
		key = &f
	}
	o.done()
	if len(d.errs) > before {
		return nil
	}
	return key
}

// namesKind tells whether a document says that it is of a kind.
func namesKind(node *yaml.Node, kind string) bool {
	if node.Kind != yaml.MappingNode {
		return false
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == "kind" && node.Content[i+1].Value == kind {
			return true
		}
	}
	return false
}

// shift moves a node and all below it down by lines.
func shift(node *yaml.Node, lines int) {
	node.Line += lines
	for _, below := range node.Content {
		shift(below, lines)
	}
}

// isEmpty tells whether a chunk holds no document: nothing, null or comments. One that cannot be read is not empty.
func isEmpty(chunk []byte) bool {
	var doc yaml.Node
	err := yaml.NewDecoder(bytes.NewReader(chunk)).Decode(&doc)
	return errors.Is(err, io.EOF) || err == nil && (len(doc.Content) != 1 || isNull(doc.Content[0]))
}
