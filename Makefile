# make [all]            the program, its manual page, the shells' completions, in target/package
# make install          puts them in place, and the engines' configuration beside them (share/orlop/engines)
# make install-engines  puts that into the engines' own directories: each engine then knows a runtime `orlop`, none uses it by default
# make uninstall        removes what these have installed
# make deb              a Debian package, in target/debian; takes cargo-deb
#
# DESTDIR, PREFIX and SYSCONFDIR are what they are everywhere.

PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
package = target/package
engines = daemon.json containerd-1.toml containerd-2.toml containers.conf crio.conf
share = $(DESTDIR)$(PREFIX)/share

all:
	mkdir -p $(package)/completions
	install -m 755 "$$(./build)" $(package)/orlop
	$(package)/orlop generate man > $(package)/orlop.8
	$(package)/orlop generate bash > $(package)/completions/orlop
	$(package)/orlop generate zsh > $(package)/completions/_orlop
	$(package)/orlop generate fish > $(package)/completions/orlop.fish
	mkdir -p $(package)/engines
	for file in $(engines); do \
		sed 's|/usr/local/bin/orlop|$(PREFIX)/bin/orlop|' engines/$$file > $(package)/engines/$$file || exit 1; \
	done

install: all
	install -D -m 755 $(package)/orlop $(DESTDIR)$(PREFIX)/bin/orlop
	install -D -m 644 $(package)/orlop.8 $(share)/man/man8/orlop.8
	install -D -m 644 $(package)/completions/orlop $(share)/bash-completion/completions/orlop
	install -D -m 644 $(package)/completions/_orlop $(share)/zsh/site-functions/_orlop
	install -D -m 644 $(package)/completions/orlop.fish $(share)/fish/vendor_completions.d/orlop.fish
	install -d $(share)/orlop/engines
	install -m 644 $(engines:%=$(package)/engines/%) $(share)/orlop/engines

# dockerd has one file, which may be there already; containerd reads what its own file imports.
install-engines: install
	install -D -m 644 $(share)/orlop/engines/containers.conf $(DESTDIR)$(SYSCONFDIR)/containers/containers.conf.d/50-orlop.conf
	install -D -m 644 $(share)/orlop/engines/crio.conf $(DESTDIR)$(SYSCONFDIR)/crio/crio.conf.d/50-orlop.conf
	install -d $(DESTDIR)$(SYSCONFDIR)/docker
	[ -e $(DESTDIR)$(SYSCONFDIR)/docker/daemon.json ] && echo "dockerd has a daemon.json: add what is in $(PREFIX)/share/orlop/engines/daemon.json" || \
		install -m 644 $(share)/orlop/engines/daemon.json $(DESTDIR)$(SYSCONFDIR)/docker/daemon.json
	@echo "containerd: name one of $(PREFIX)/share/orlop/engines/containerd-{1,2}.toml in imports of its config.toml"

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/orlop $(share)/man/man8/orlop.8 $(share)/bash-completion/completions/orlop \
		$(share)/zsh/site-functions/_orlop $(share)/fish/vendor_completions.d/orlop.fish \
		$(DESTDIR)$(SYSCONFDIR)/containers/containers.conf.d/50-orlop.conf $(DESTDIR)$(SYSCONFDIR)/crio/crio.conf.d/50-orlop.conf
	if cmp -s $(DESTDIR)$(SYSCONFDIR)/docker/daemon.json $(share)/orlop/engines/daemon.json; then rm $(DESTDIR)$(SYSCONFDIR)/docker/daemon.json; fi
	rm -rf $(share)/orlop

deb: PREFIX = /usr
deb: all
	cargo deb --package runtime-cli --no-build --no-strip --output target/debian/

.PHONY: all install install-engines uninstall deb
