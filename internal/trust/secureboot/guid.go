package secureboot

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// GUID is in the order of bytes in which UEFI has it in memory (UEFI 2.10, appendix A): the first three groups are little-endian.
type GUID [16]byte

// swapped is where the bytes of the text lie in memory, and the other way round.
var swapped = [16]int{3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15}

// known reads a GUID of this program's own text.
func known(text string) GUID {
	b, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	if err != nil || len(b) != 16 {
		panic(fmt.Sprintf("read GUID %q: %v", text, err))
	}
	var g GUID
	for i, from := range swapped {
		g[i] = b[from]
	}
	return g
}

// String is the usual form: groups of hexadecimal digits.
func (g GUID) String() string {
	var b [16]byte
	for i, from := range swapped {
		b[from] = g[i]
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// Names of things (UEFI 2.10, 3.3, 8.2.2 and 32.4.1).
const (
	globalVariable = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
	imageSecurity  = "d719b2cb-3d3a-4596-a3bc-dad00e67656f"

	typeX509    = "a5c059a1-94e4-4aa7-87b5-ab155c2bf072" // a certificate
	typeSHA256  = "c1c41626-504c-4092-aca9-41f936934328" // the hash of a program
	typeX509SHA = "3bd2a492-96c0-4079-b420-fcf98ef103ed" // the hash of what is signed of a certificate, and a time
	typePKCS7   = "4aafd29d-68df-49ee-8aa9-347d375665a7" // a signature of a variable
)
