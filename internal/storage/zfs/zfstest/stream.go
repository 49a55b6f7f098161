package zfstest

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"

	"github.com/cyvive/cyvive/internal/storage/zfs"
)

// A stream is a row of frames: a byte that says which, the length of the payload in four bytes, the payload, and its CRC-32 in four bytes. As a real
// one, it has one that begins it, one for each record, and one that ends it; without the last it was cut.
const (
	frameBegin  = 'B'
	frameRecord = 'R'
	frameEnd    = 'E'
	// maxFrame is the largest payload, as a damaged length must not make the reader take memory without end.
	maxFrame = 16 << 20
)

// header is what a stream begins with (struct drr_begin, include/sys/zfs_ioctl.h), and what a resume token says again.
type header struct {
	ToName string   `json:"toname"`
	To     zfs.GUID `json:"toguid"`
	From   zfs.GUID `json:"fromguid,omitempty"`
	// Created is the snapshot's time in seconds, which the received one gets, too.
	Created int64    `json:"created"`
	Kind    zfs.Kind `json:"kind"`
	Size    uint64   `json:"size,omitempty"`
	Large   bool     `json:"large,omitempty"`
	Raw     bool     `json:"raw,omitempty"`
	// AskedLarge is what the sender was asked for, Large whether the stream has blocks of that size.
	AskedLarge bool   `json:"askedlarge,omitempty"`
	Cipher     string `json:"cipher,omitempty"`
	// Clone says that From is of the dataset's origin.
	Clone      bool              `json:"clone,omitempty"`
	Properties map[string]string `json:"properties,omitempty"`
	// Resume says how many records were received before; a stream that begins at the beginning has none, not zero.
	Resume *int `json:"resume,omitempty"`
}

// head is the same in the terms of zfs. What has properties is a package, as zfs send -p makes one.
func (h header) head() zfs.StreamHead {
	return zfs.StreamHead{Name: h.ToName, Kind: h.Kind, From: h.From, To: h.To, Clone: h.Clone, Package: len(h.Properties) > 0}
}

// token is what a partial receive says of itself.
type token struct {
	Header  header `json:"header"`
	Records int    `json:"records"`
	Bytes   uint64 `json:"bytes"`
}

func writeFrame(w *bytes.Buffer, kind byte, payload []byte) {
	w.WriteByte(kind)
	_ = binary.Write(w, binary.BigEndian, uint32(len(payload)))
	w.Write(payload)
	_ = binary.Write(w, binary.BigEndian, crc32.ChecksumIEEE(payload))
}

// readFrame reads the next frame. What is cut or damaged is zfs.ErrBadStream.
func readFrame(r io.Reader) (kind byte, payload []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, cut(err)
	}
	length := binary.BigEndian.Uint32(head[1:])
	if length > maxFrame {
		return 0, nil, fmt.Errorf("%w: a frame of %d bytes", zfs.ErrBadStream, length)
	}
	rest := make([]byte, length+4)
	if _, err := io.ReadFull(r, rest); err != nil {
		return 0, nil, cut(err)
	}
	payload = rest[:length]
	if crc32.ChecksumIEEE(payload) != binary.BigEndian.Uint32(rest[length:]) {
		return 0, nil, fmt.Errorf("%w: checksum mismatch", zfs.ErrBadStream)
	}
	return head[0], payload, nil
}

func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends early", zfs.ErrBadStream)
	}
	return fmt.Errorf("%w: %w", zfs.ErrBadStream, err)
}

// encode writes a stream of records.
func encode(h header, records []record) []byte {
	var w bytes.Buffer
	writeFrame(&w, frameBegin, marshal(h))
	for _, r := range records {
		writeFrame(&w, frameRecord, marshal(r))
	}
	writeFrame(&w, frameEnd, marshal(len(records)))
	return w.Bytes()
}

// marshal encodes what always can be.
func marshal(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("encode %T: %v", v, err))
	}
	return data
}

// token is the value of receive_resume_token: a version, the checksum and the length of what follows, in hexadecimal (zfs_send_resume_token_to_nvlist).
func (p *partial) token() string {
	data := marshal(token{Header: p.head, Records: p.received, Bytes: p.bytes})
	return fmt.Sprintf("1-%x-%x-%x", crc32.ChecksumIEEE(data), len(data), data)
}

func parseToken(text string) (token, error) {
	bad := func(why string) (token, error) {
		return token{}, fmt.Errorf("read resume token %.20s: %w: %s", text, zfs.ErrBadToken, why)
	}
	rest, ok := strings.CutPrefix(text, "1-")
	sum, rest, ok2 := strings.Cut(rest, "-")
	length, body, ok3 := strings.Cut(rest, "-")
	if !ok || !ok2 || !ok3 {
		return bad("it has not four parts")
	}
	data, err := hex.DecodeString(body)
	if err != nil || fmt.Sprintf("%x", len(data)) != length || fmt.Sprintf("%x", crc32.ChecksumIEEE(data)) != sum {
		return bad("it is damaged")
	}
	var t token
	if err := json.Unmarshal(data, &t); err != nil || t.Records < 0 {
		return bad("it is damaged")
	}
	return t, nil
}
