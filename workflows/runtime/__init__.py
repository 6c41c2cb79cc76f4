"""What every long command needs: a Ray cluster (`cluster`), progress (`progress`), and an orderly end (`signals`)."""
