package containerd

import (
	"errors"
	"strings"
	"unicode"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

// Bounds of one answer. At the plane's socket whoever is root in the plane can answer,
// and a field of two bytes may be a hundred in memory.
const (
	// maxAnswerBytes is for all answers but those to lists: containerd sends files in
	// pieces of 1 MiB.
	maxAnswerBytes = 4 << 20
	// maxRecordBytes is for those, and is containerd's own bound.
	maxRecordBytes = 16 << 20
	// maxFields is for the record of one container: labels, above all.
	maxFields = 1 << 16
)

var errManyFields = errors.New("an answer has more fields than there can be")

// decode makes m of an answer that was received as a message without fields, which keeps
// all that it does not know as it came. That on its first levels it may have at most so
// many fields bounds what m takes in memory.
func decode(answer *emptypb.Empty, m proto.Message, levels, most int) error {
	data := answer.ProtoReflect().GetUnknown()
	if countFields(data, levels, most) > most {
		return errManyFields
	}
	return proto.Unmarshal(data, m)
}

// countFields counts the fields of a message, and those of what may be messages in it, on
// so many levels. It ends when there are more than most, or at what is no field: that is
// said by who decodes it.
func countFields(message []byte, levels, most int) int {
	n := 0
	for len(message) > 0 && n <= most {
		number, kind, tag := protowire.ConsumeTag(message)
		if tag < 0 {
			return n
		}
		message = message[tag:]
		length := protowire.ConsumeFieldValue(number, kind, message)
		if length < 0 {
			return n
		}
		n++
		if levels > 1 && kind == protowire.BytesType {
			inner, _ := protowire.ConsumeBytes(message)
			n += countFields(inner, levels-1, most-n)
		}
		message = message[length:]
	}
	return n
}

// maxErrorBytes bounds the text of an error that came by the socket.
const maxErrorBytes = 512

// told is an error whose text is not as it came.
type told struct {
	text string
	err  error
}

func (t told) Error() string { return t.text }
func (t told) Unwrap() error { return t.err }

// plain makes the text of an error one that a person can be shown and a message of the
// API can hold: of one line, valid UTF-8, and not long.
func plain(err error) error {
	text := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, err.Error())
	if len(text) > maxErrorBytes {
		text = strings.ToValidUTF8(text[:maxErrorBytes], "") + "…"
	}
	if text == err.Error() {
		return err
	}
	return told{text, err}
}
