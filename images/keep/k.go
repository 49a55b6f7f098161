package keep
import (
 _ "github.com/ProtonMail/go-crypto/openpgp"
 _ "github.com/containerd/go-dmverity/pkg/verity"
 _ "github.com/diskfs/go-diskfs"
 _ "github.com/klauspost/compress/zstd"
 _ "github.com/ulikunitz/xz"
)
