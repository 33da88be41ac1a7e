// Verifies logs with the libraries that verify Go's checksum database.
//
// Takes folders of logs as arguments and prints for each whether the libraries accept it.
package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// log reads the tiles in a folder. The paths of Go's tiles have the height of the tiles as well.
type log string

func (folder log) read(path string) ([]byte, error) {
	return os.ReadFile(filepath.Join(string(folder), filepath.FromSlash(path)))
}

func (folder log) Height() int { return 8 }

func (folder log) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var read [][]byte
	for _, tile := range tiles {
		bytes, err := folder.read(strings.Replace(tile.Path(), "tile/8/", "tile/", 1))
		if err != nil {
			return nil, err
		}
		read = append(read, bytes)
	}
	return read, nil
}

func (folder log) SaveTiles([]tlog.Tile, [][]byte) {}

func (folder log) entries(size int64) ([][]byte, error) {
	var entries [][]byte
	for first := int64(0); first < size; first += 256 {
		tile := tlog.Tile{H: 8, L: -1, N: first / 256, W: 256}
		if size-first < 256 {
			tile.W = int(size - first)
		}
		bundle, err := folder.read(strings.Replace(tile.Path(), "tile/8/data/", "tile/entries/", 1))
		if err != nil {
			return nil, err
		}
		for len(bundle) >= 2 {
			end := 2 + int(binary.BigEndian.Uint16(bundle))
			if end > len(bundle) {
				return nil, fmt.Errorf("bundle %d ends within an entry", tile.N)
			}
			entries = append(entries, bundle[2:end])
			bundle = bundle[end:]
		}
	}
	return entries, nil
}

func (folder log) checkpoint() (size int64, root tlog.Hash, err error) {
	key, err := folder.read("log.vkey")
	if err != nil {
		return
	}
	verifier, err := note.NewVerifier(string(key))
	if err != nil {
		return
	}
	signed, err := folder.read("checkpoint")
	if err != nil {
		return
	}
	opened, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		return
	}
	lines := strings.Split(opened.Text, "\n")
	if lines[0] != verifier.Name() {
		return 0, root, fmt.Errorf("the origin is %s", lines[0])
	}
	if size, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return
	}
	root, err = tlog.ParseHash(lines[2])
	return
}

// proofs reads lines of a number and hashes.
func (folder log) proofs(name string) (numbers []int64, hashes [][]tlog.Hash, err error) {
	text, err := folder.read(name)
	if err != nil {
		return
	}
	for _, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		items := strings.Fields(line)
		if len(items) == 0 {
			continue
		}
		number, err := strconv.ParseInt(items[0], 10, 64)
		if err != nil {
			return nil, nil, err
		}
		path := []tlog.Hash{}
		for _, item := range items[1:] {
			hash, err := tlog.ParseHash(item)
			if err != nil {
				return nil, nil, err
			}
			path = append(path, hash)
		}
		numbers, hashes = append(numbers, number), append(hashes, path)
	}
	return
}

func (folder log) verify() error {
	size, root, err := folder.checkpoint()
	if err != nil {
		return err
	}
	// It leaves some full tiles of small trees unverified (its loop over them begins at the number of subtrees, and not of
	// tiles), so what it reads is compared with the proofs.
	tiles := tlog.TileHashReader(tlog.Tree{N: size, Hash: root}, folder)
	entries, err := folder.entries(size)
	if err != nil {
		return err
	}
	indices, paths, err := folder.proofs("inclusion")
	if err != nil {
		return err
	}
	if int64(len(entries)) != size || int64(len(indices)) != size {
		return fmt.Errorf("%d entries, %d proofs, size %d", len(entries), len(indices), size)
	}
	for i, index := range indices {
		if err := tlog.CheckRecord(paths[i], size, root, index, tlog.RecordHash(entries[index])); err != nil {
			return fmt.Errorf("entry %d: %w", index, err)
		}
		proof, err := tlog.ProveRecord(size, index, tiles)
		if err != nil {
			return err
		}
		if !equal(proof, paths[i]) {
			return fmt.Errorf("the tiles prove entry %d otherwise", index)
		}
	}
	sizes, paths, err := folder.proofs("consistency")
	if err != nil {
		return err
	}
	if int64(len(sizes)) != size-1 {
		return fmt.Errorf("%d earlier trees, size %d", len(sizes), size)
	}
	for i, old := range sizes {
		oldRoot, path := paths[i][0], paths[i][1:]
		if err := tlog.CheckTree(path, size, root, old, oldRoot); err != nil {
			return fmt.Errorf("tree of %d: %w", old, err)
		}
		proof, err := tlog.ProveTree(size, old, tiles)
		if err != nil {
			return err
		}
		if !equal(proof, path) {
			return fmt.Errorf("the tiles prove the tree of %d otherwise", old)
		}
	}
	return nil
}

func equal(a, b []tlog.Hash) bool {
	return len(a) == 0 && len(b) == 0 || reflect.DeepEqual(a, b)
}

func main() {
	for _, folder := range os.Args[1:] {
		if err := log(folder).verify(); err != nil {
			fmt.Println("refused:", strings.ReplaceAll(err.Error(), "\n", " "))
		} else {
			fmt.Println("accepted")
		}
	}
}
