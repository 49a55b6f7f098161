package csi

import (
	"context"
	"fmt"
	"path"
	"strings"
	"unicode"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Limits of fields (section "Size Limits" of the specification), in bytes. Paths may be as long as the system has them.
const (
	maxString = 128
	maxMap    = 4 << 10
	maxPath   = 4095
	maxNodeID = 256
)

// checkFields says which field of a request is too long. Deeper messages are looked at, too.
func checkFields(m protoreflect.Message) error {
	var err error
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		name := string(f.Name())
		switch {
		case f.IsMap():
			total := 0
			v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
				total += len(k.String()) + len(v.String())
				return true
			})
			err = checkLength(name, total, maxMap)
		case f.IsList():
			total := 0
			for i := range v.List().Len() {
				if one := v.List().Get(i); f.Message() != nil {
					err = checkFields(one.Message())
				} else if f.Kind() == protoreflect.StringKind {
					total += len(one.String())
				}
				if err != nil {
					return false
				}
			}
			if name == "mount_flags" {
				err = checkLength(name, total, maxMap)
			}
		case f.Message() != nil:
			err = checkFields(v.Message())
		case f.Kind() == protoreflect.StringKind:
			err = checkLength(name, len(v.String()), limitOf(name))
		}
		return err == nil
	})
	return err
}

func limitOf(field string) int {
	switch {
	case strings.HasSuffix(field, "_path"):
		return maxPath
	case field == "node_id":
		return maxNodeID
	}
	return maxString
}

func checkLength(field string, bytes, limit int) error {
	if bytes > limit {
		return refuse("%s: %d bytes, and CSI lets it have %d", field, bytes, limit)
	}
	return nil
}

// brief cuts a text to what a field of an answer may have.
func brief(text string) string {
	const more = "…"
	if len(text) <= maxString {
		return text
	}
	return strings.ToValidUTF8(text[:maxString-len(more)], "") + more
}

// checkName checks a name that Kubernetes gives: any text but one with control characters, other than tabs and ends of lines
// (CreateVolumeRequest.name).
func checkName(name string) error {
	switch {
	case name == "":
		return refuse("name: expected one")
	case len(name) > maxString:
		return refuse("name: %d bytes, and CSI lets it have %d", len(name), maxString)
	case strings.ContainsFunc(name, func(r rune) bool { return unicode.IsControl(r) && r != '\t' && r != '\n' && r != '\r' }):
		return refuse("name %.64q: control characters are not allowed", name)
	}
	return nil
}

// target makes a path of kubelet's relative to its directory.
func (d *Driver) target(p string) (string, error) {
	rest, below := strings.CutPrefix(p, d.KubeletDir+"/")
	if !below || rest == "" || path.Clean("/"+rest) != "/"+rest || strings.ContainsRune(rest, 0) {
		return "", fmt.Errorf("path %.200q: expected one below %s, without '..' and ending in a name", p, d.KubeletDir)
	}
	return rest, nil
}

// intercept checks each request, and tells of each that fails or changes something.
func (d *Driver) intercept(ctx context.Context, r any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	if m, ok := r.(proto.Message); ok {
		if err := checkFields(m.ProtoReflect()); err != nil {
			return nil, err
		}
	}
	answer, err := handle(ctx, r)
	_, method, _ := strings.Cut(strings.TrimPrefix(info.FullMethod, "/"), "/")
	switch {
	case err != nil:
		d.Logger.Warn("CSI call failed", "method", method, "volume", volumeIn(r), "code", status.Code(err), "error", status.Convert(err).Message())
	case changes(method):
		d.Logger.Info("CSI call", "method", method, "volume", volumeIn(r), "code", codes.OK)
	}
	return answer, err
}

// changes says whether a method is one that changes something.
func changes(method string) bool {
	for _, word := range []string{"Create", "Delete", "Expand", "Modify", "Stage", "Unstage", "Publish", "Unpublish"} {
		if strings.Contains(method, word) {
			return true
		}
	}
	return false
}

// volumeIn is what a request is about. Nothing else of it is logged: it may have secrets.
func volumeIn(r any) string {
	switch m := r.(type) {
	case interface{ GetVolumeId() string }:
		return m.GetVolumeId()
	case interface{ GetSnapshotId() string }:
		return m.GetSnapshotId()
	case interface{ GetGroupSnapshotId() string }:
		return m.GetGroupSnapshotId()
	case interface{ GetName() string }:
		return m.GetName()
	}
	return ""
}
