package powercut

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Numbers of the protocol (doc/proto.md of the NBD project, sections "Newstyle negotiation", "Fixed newstyle negotiation" and "Values"). All are sent
// in network byte order.
const (
	magicServer  = 0x4e42444d41474943 // "NBDMAGIC"
	magicOption  = 0x49484156454F5054 // "IHAVEOPT"
	magicReply   = 0x3e889045565a9
	magicRequest = 0x25609513
	magicSimple  = 0x67446698

	// Handshake flags; the client's have the same bits.
	fixedNewstyle = 1 << 0
	noZeroes      = 1 << 1

	optExportName = 1
	optAbort      = 2
	optInfo       = 6
	optGo         = 7

	repAck        = 1
	repInfo       = 3
	repErrUnsup   = 1<<31 + 1
	repErrInvalid = 1<<31 + 3

	infoExport    = 0
	infoBlockSize = 3

	// Transmission flags.
	hasFlags        = 1 << 0
	sendFlush       = 1 << 2
	sendFUA         = 1 << 3
	sendTrim        = 1 << 5
	sendWriteZeroes = 1 << 6

	cmdRead        = 0
	cmdWrite       = 1
	cmdDisconnect  = 2
	cmdFlush       = 3
	cmdTrim        = 4
	cmdWriteZeroes = 6

	// flagFUA is of a command, whose data is to be on the medium before the reply.
	flagFUA = 1 << 0

	errIO      = 5
	errInvalid = 22
)

const (
	transmission = hasFlags | sendFlush | sendFUA | sendTrim | sendWriteZeroes
	// maxOptionBytes is more than any option that is known has; names have 4096 bytes at most.
	maxOptionBytes = 8 << 10
	// maxPayloadBytes is the largest read and write, which the client is told.
	maxPayloadBytes = 32 << 20
)

// errProtocol says that what the client sends is no NBD, or too much of it.
var errProtocol = errors.New("the client does not speak the protocol")

// errAborted says that the client has ended the handshake, as it may.
var errAborted = errors.New("the client has ended the handshake")

// negotiate does the handshake. Whatever name the client asks for, it gets the one disk.
func negotiate(conn io.ReadWriter, sizeBytes int64) error {
	hello := binary.BigEndian.AppendUint64(nil, magicServer)
	hello = binary.BigEndian.AppendUint64(hello, magicOption)
	hello = binary.BigEndian.AppendUint16(hello, fixedNewstyle|noZeroes)
	if _, err := conn.Write(hello); err != nil {
		return err
	}
	var flags [4]byte
	if _, err := io.ReadFull(conn, flags[:]); err != nil {
		return err
	}
	client := binary.BigEndian.Uint32(flags[:])
	if client&^(fixedNewstyle|noZeroes) != 0 {
		return fmt.Errorf("%w: its flags are %#x", errProtocol, client)
	}
	for {
		option, data, err := readOption(conn)
		if err != nil {
			return err
		}
		if option == optExportName {
			return exportName(conn, sizeBytes, client&noZeroes != 0)
		}
		done, err := answerOption(conn, option, data, sizeBytes)
		if done || err != nil {
			return err
		}
	}
}

func readOption(r io.Reader) (option uint32, data []byte, err error) {
	var head [16]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	length := binary.BigEndian.Uint32(head[12:])
	if magic := binary.BigEndian.Uint64(head[:]); magic != magicOption || length > maxOptionBytes {
		return 0, nil, fmt.Errorf("%w: an option with magic %#x and %d bytes", errProtocol, magic, length)
	}
	data = make([]byte, length)
	_, err = io.ReadFull(r, data)
	return binary.BigEndian.Uint32(head[8:]), data, err
}

// exportName answers NBD_OPT_EXPORT_NAME, which has an answer of its own form.
func exportName(w io.Writer, sizeBytes int64, short bool) error {
	answer := binary.BigEndian.AppendUint64(nil, uint64(sizeBytes))
	answer = binary.BigEndian.AppendUint16(answer, transmission)
	if !short {
		answer = append(answer, make([]byte, 124)...)
	}
	_, err := w.Write(answer)
	return err
}

// answerOption answers one option, and says whether the handshake is done.
func answerOption(w io.Writer, option uint32, data []byte, sizeBytes int64) (done bool, err error) {
	switch option {
	case optAbort:
		return false, errors.Join(replyOption(w, option, repAck, nil), errAborted)
	case optInfo, optGo:
		// The name's length, the name, the number of requests for information, and these, of 16 bits each.
		if len(data) < 6 || uint64(binary.BigEndian.Uint32(data)) > uint64(len(data)-6) {
			return false, replyOption(w, option, repErrInvalid, nil)
		}
		export := binary.BigEndian.AppendUint16(nil, infoExport)
		export = binary.BigEndian.AppendUint64(export, uint64(sizeBytes))
		export = binary.BigEndian.AppendUint16(export, transmission)
		sizes := binary.BigEndian.AppendUint16(nil, infoBlockSize)
		for _, n := range []uint32{sectorBytes, blockBytes, maxPayloadBytes} {
			sizes = binary.BigEndian.AppendUint32(sizes, n)
		}
		err := errors.Join(replyOption(w, option, repInfo, export), replyOption(w, option, repInfo, sizes), replyOption(w, option, repAck, nil))
		return option == optGo, err
	}
	return false, replyOption(w, option, repErrUnsup, nil)
}

func replyOption(w io.Writer, option, kind uint32, data []byte) error {
	reply := binary.BigEndian.AppendUint64(nil, magicReply)
	reply = binary.BigEndian.AppendUint32(reply, option)
	reply = binary.BigEndian.AppendUint32(reply, kind)
	reply = binary.BigEndian.AppendUint32(reply, uint32(len(data)))
	_, err := w.Write(append(reply, data...))
	return err
}

// request is a command of the client.
type request struct {
	flags, kind uint16
	handle      uint64
	at, length  int64
}

// readRequest reads a command but for its data. The error is io.EOF where the client has gone between two.
func readRequest(r io.Reader) (request, error) {
	var b [28]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return request{}, err
	}
	if magic := binary.BigEndian.Uint32(b[:]); magic != magicRequest {
		return request{}, fmt.Errorf("%w: a request with magic %#x", errProtocol, magic)
	}
	at := binary.BigEndian.Uint64(b[16:])
	if at > 1<<62 {
		at = 1 << 62 // on no disk either
	}
	return request{
		flags: binary.BigEndian.Uint16(b[4:]), kind: binary.BigEndian.Uint16(b[6:]), handle: binary.BigEndian.Uint64(b[8:]),
		at: int64(at), length: int64(binary.BigEndian.Uint32(b[24:])),
	}, nil
}

// simpleReply is the head of a reply, which the data of a read follows.
func simpleReply(handle uint64, code uint32) []byte {
	b := binary.BigEndian.AppendUint32(nil, magicSimple)
	b = binary.BigEndian.AppendUint32(b, code)
	return binary.BigEndian.AppendUint64(b, handle)
}
