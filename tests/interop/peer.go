// Answers questions about logs with golang.org/x/mod/sumdb: note and tlog. One JSON list of questions comes in on
// standard input, one JSON list of answers goes out. test_sumdb.py asks.
package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// One question. Bytes are base64 in JSON.
type question struct {
	Ask      string
	Note     []byte
	Keys     []string // verifier keys, or private keys for "sign"
	Text     string
	Time     uint64
	Leaf     []byte
	Index    int64
	Size     int64
	Root     []byte
	First    int64
	FirstOf  []byte
	Proof    [][]byte
	Entries  [][]byte
	Sizes    []int64
	Places   [][2]int64 // index and size
	Pairs    [][2]int64 // first and second size
	TileSize int64
}

type answer struct {
	Ok      bool
	Error   string
	Text    string
	Signers []string
	Note    []byte
	Roots   [][]byte
	Proofs  [][][]byte
	Older   [][][]byte
	Tiles   map[string][]byte
}

// cosigner knows cosignature/v1: the timestamp is in the signature and in the message.
type cosigner struct {
	note.Verifier
	name string
	hash uint32
	key  ed25519.PublicKey
}

func (c *cosigner) Name() string    { return c.name }
func (c *cosigner) KeyHash() uint32 { return c.hash }
func (c *cosigner) Verify(text, signature []byte) bool {
	if len(signature) != 8+ed25519.SignatureSize {
		return false
	}
	message := fmt.Sprintf("cosignature/v1\ntime %d\n%s", binary.BigEndian.Uint64(signature), text)
	return ed25519.Verify(c.key, []byte(message), signature[8:])
}

func verifier(key string) (note.Verifier, error) {
	parts := strings.SplitN(key, "+", 3)
	if len(parts) == 3 {
		data, err := base64.StdEncoding.DecodeString(parts[2])
		if err == nil && len(data) == 33 && data[0] == 4 {
			var hash uint32
			if _, err := fmt.Sscanf(parts[1], "%08x", &hash); err != nil {
				return nil, err
			}
			return &cosigner{name: parts[0], hash: hash, key: data[1:]}, nil
		}
	}
	return note.NewVerifier(key)
}

func open(q question) (a answer, err error) {
	var known []note.Verifier
	for _, key := range q.Keys {
		v, err := verifier(key)
		if err != nil {
			return a, err
		}
		known = append(known, v)
	}
	opened, err := note.Open(q.Note, note.VerifierList(known...))
	if err != nil {
		return a, err
	}
	a.Text = opened.Text
	for _, signature := range opened.Sigs {
		a.Signers = append(a.Signers, signature.Name)
	}
	return a, nil
}

func sign(q question) (a answer, err error) {
	var signers []note.Signer
	for _, key := range q.Keys {
		s, err := note.NewSigner(key)
		if err != nil {
			return a, err
		}
		signers = append(signers, s)
	}
	a.Note, err = note.Sign(&note.Note{Text: q.Text}, signers...)
	return a, err
}

// witness takes a request of add-checkpoint (c2sp.org/tlog-witness) in Note, as one that knows the tree of First entries
// with the root FirstOf, and the log's key Keys[0]. It cosigns at Time, in the name Text, with the key of the seed Leaf.
func witness(q question) (a answer, err error) {
	head, signed, found := strings.Cut(string(q.Note), "\n\n")
	lines := strings.Split(head, "\n")
	if !found || lines[0] != fmt.Sprintf("old %d", q.First) {
		return a, fmt.Errorf("not a request from this size: %q", lines[0])
	}
	var proof []tlog.Hash
	for _, line := range lines[1:] {
		h, err := tlog.ParseHash(line)
		if err != nil {
			return a, err
		}
		proof = append(proof, h)
	}
	log, err := note.NewVerifier(q.Keys[0])
	if err != nil {
		return a, err
	}
	opened, err := note.Open([]byte(signed), note.VerifierList(log))
	if err != nil {
		return a, err
	}
	body := strings.Split(opened.Text, "\n")
	size, err := strconv.ParseInt(body[1], 10, 64)
	if err != nil || body[0] != log.Name() {
		return a, fmt.Errorf("not a checkpoint of %s: %v", log.Name(), err)
	}
	root, err := tlog.ParseHash(body[2])
	if err != nil {
		return a, err
	}
	if q.First == 0 && len(proof) > 0 {
		return a, fmt.Errorf("a proof from nothing")
	}
	if q.First > 0 {
		older, err := hashOf(q.FirstOf)
		if err != nil {
			return a, err
		}
		if err := tlog.CheckTree(proof, size, root, q.First, older); err != nil {
			return a, err
		}
	}
	key := ed25519.NewKeyFromSeed(q.Leaf)
	id := sha256.Sum256(append([]byte(q.Text+"\n\x04"), key.Public().(ed25519.PublicKey)...))
	data := binary.BigEndian.AppendUint64(id[:4:4], q.Time)
	data = append(data, ed25519.Sign(key, []byte(fmt.Sprintf("cosignature/v1\ntime %d\n%s", q.Time, opened.Text)))...)
	a.Note = []byte(fmt.Sprintf("— %s %s\n", q.Text, base64.StdEncoding.EncodeToString(data)))
	return a, nil
}

func hashOf(data []byte) (h tlog.Hash, err error) {
	if len(data) != tlog.HashSize {
		return h, fmt.Errorf("%d bytes", len(data))
	}
	copy(h[:], data)
	return h, nil
}

func hashesOf(list [][]byte) (hashes []tlog.Hash, err error) {
	for _, data := range list {
		h, err := hashOf(data)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, h)
	}
	return hashes, nil
}

func bytesOf(hashes []tlog.Hash) [][]byte {
	list := [][]byte{}
	for _, h := range hashes {
		list = append(list, append([]byte{}, h[:]...))
	}
	return list
}

func inclusion(q question) error {
	hashes, err := hashesOf(append([][]byte{q.Root, q.Leaf}, q.Proof...))
	if err != nil {
		return err
	}
	return tlog.CheckRecord(hashes[2:], q.Size, hashes[0], q.Index, hashes[1])
}

func consistency(q question) error {
	hashes, err := hashesOf(append([][]byte{q.Root, q.FirstOf}, q.Proof...))
	if err != nil {
		return err
	}
	return tlog.CheckTree(hashes[2:], q.Size, hashes[0], q.First, hashes[1])
}

func build(q question) (a answer, err error) {
	var stored []tlog.Hash
	read := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var out []tlog.Hash
		for _, index := range indexes {
			out = append(out, stored[index])
		}
		return out, nil
	})
	for n, entry := range q.Entries {
		hashes, err := tlog.StoredHashes(int64(n), entry, read)
		if err != nil {
			return a, err
		}
		stored = append(stored, hashes...)
	}
	for _, size := range q.Sizes {
		root, err := tlog.TreeHash(size, read)
		if err != nil {
			return a, err
		}
		a.Roots = append(a.Roots, bytesOf([]tlog.Hash{root})...)
	}
	for _, place := range q.Places {
		proof, err := tlog.ProveRecord(place[1], place[0], read)
		if err != nil {
			return a, err
		}
		a.Proofs = append(a.Proofs, bytesOf(proof))
	}
	for _, pair := range q.Pairs {
		proof, err := tlog.ProveTree(pair[1], pair[0], read)
		if err != nil {
			return a, err
		}
		a.Older = append(a.Older, bytesOf(proof))
	}
	a.Tiles = map[string][]byte{}
	for _, tile := range tlog.NewTiles(8, 0, q.TileSize) {
		data, err := tlog.ReadTileData(tile, read)
		if err != nil {
			return a, err
		}
		a.Tiles[tile.Path()] = data
	}
	return a, nil
}

func reply(q question) (a answer) {
	var err error
	switch q.Ask {
	case "open":
		a, err = open(q)
	case "sign":
		a, err = sign(q)
	case "witness":
		a, err = witness(q)
	case "inclusion":
		err = inclusion(q)
	case "consistency":
		err = consistency(q)
	case "build":
		a, err = build(q)
	default:
		err = fmt.Errorf("unknown question %q", q.Ask)
	}
	if err != nil {
		return answer{Error: err.Error()}
	}
	a.Ok = true
	return a
}

func main() {
	var questions []question
	if err := json.NewDecoder(os.Stdin).Decode(&questions); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	answers := []answer{}
	for _, q := range questions {
		answers = append(answers, reply(q))
	}
	if err := json.NewEncoder(os.Stdout).Encode(answers); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
