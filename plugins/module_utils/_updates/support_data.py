# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""How long distributions are maintained. Made by tools/support_data.py: do not edit.

Dates are from endoflife.date (https://endoflife.date, MIT licence, copyright of the endoflife.date contributors) and
from distro-info-data (https://salsa.debian.org/debian/distro-info-data, ISC licence, copyright 2009-2024 Benjamin Drung
and 2009-2021 Stefano Rivera). The latter's notice: Permission to use, copy, modify, and/or distribute this software for
any purpose with or without fee is hereby granted, provided that the above copyright notice and this permission notice
appear in all copies. The software is provided "as is", without any warranty.

Product, release, stage, and the end of the stage by source. None: the source knows of no end yet.
"""

from __future__ import annotations

import typing as t

GENERATED = "2026-11-25"

# When the data of each source were made.
DATES: dict[str, str] = {
    "distro-info-data": "2026-04-25",
    "endoflife.date": "2026-08-22",
    "access.redhat.com": "2026-11-25",
}

RELEASES: dict[str, dict[str, dict[str, t.Any]]] = {
    "debian": {
        "13": {
            "full": {"distro-info-data": "2028-08-09", "endoflife.date": "2028-08-09"},
            "lts": {"distro-info-data": "2030-06-30", "endoflife.date": "2030-06-30"},
            "extended": {"distro-info-data": "2035-06-30"},
        },
        "12": {
            "full": {"distro-info-data": "2026-07-11", "endoflife.date": "2026-07-11"},
            "lts": {"distro-info-data": "2028-06-30", "endoflife.date": "2028-06-30"},
            "extended": {"distro-info-data": "2033-06-30"},
        },
        "11": {
            "full": {"distro-info-data": "2024-08-14", "endoflife.date": "2024-08-14"},
            "lts": {"distro-info-data": "2026-08-31", "endoflife.date": "2026-08-31"},
            "extended": {"distro-info-data": "2031-06-30"},
        },
        "10": {
            "full": {"distro-info-data": "2022-09-10", "endoflife.date": "2022-09-10"},
            "lts": {"distro-info-data": "2024-06-30", "endoflife.date": "2024-06-30"},
            "extended": {"distro-info-data": "2029-06-30"},
        },
        "9": {
            "full": {"distro-info-data": "2020-07-18", "endoflife.date": "2020-07-18"},
            "lts": {"distro-info-data": "2022-06-30", "endoflife.date": "2022-07-01"},
            "extended": {"distro-info-data": "2027-06-30"},
        },
        "8": {
            "full": {"distro-info-data": "2018-06-17", "endoflife.date": "2018-06-17"},
            "lts": {"distro-info-data": "2020-06-30", "endoflife.date": "2020-06-30"},
            "extended": {"distro-info-data": "2025-06-30"},
        },
        "7": {
            "full": {"distro-info-data": "2016-04-25", "endoflife.date": "2016-04-25"},
            "lts": {"distro-info-data": "2018-05-31", "endoflife.date": "2018-05-31"},
            "extended": {"distro-info-data": "2020-06-30"},
        },
        "6": {"full": {"endoflife.date": "2014-05-31"}, "lts": {"endoflife.date": "2016-02-29"}},
        "4.0": {"full": {"distro-info-data": "2010-02-15"}},
        "5.0": {"full": {"distro-info-data": "2012-02-06"}},
        "6.0": {"full": {"distro-info-data": "2014-05-31"}, "lts": {"distro-info-data": "2016-02-29"}},
    },
    "ubuntu": {
        "26.04": {
            "full": {"distro-info-data": "2031-05-29", "endoflife.date": "2031-04-30"},
            "extended": {"distro-info-data": "2036-04-23", "endoflife.date": "2036-04-30"},
        },
        "25.10": {"full": {"distro-info-data": "2026-07-09", "endoflife.date": "2026-07-01"}},
        "25.04": {"full": {"distro-info-data": "2026-01-15", "endoflife.date": "2026-01-17"}},
        "24.10": {"full": {"distro-info-data": "2025-07-10", "endoflife.date": "2025-07-10"}},
        "24.04": {
            "full": {"distro-info-data": "2029-05-31", "endoflife.date": "2029-05-31"},
            "extended": {"distro-info-data": "2034-04-25", "endoflife.date": "2036-05-31"},
        },
        "23.10": {"full": {"distro-info-data": "2024-07-11", "endoflife.date": "2024-07-12"}},
        "23.04": {"full": {"distro-info-data": "2024-01-25", "endoflife.date": "2024-01-20"}},
        "22.10": {"full": {"distro-info-data": "2023-07-20", "endoflife.date": "2023-07-20"}},
        "22.04": {
            "full": {"distro-info-data": "2027-06-01", "endoflife.date": "2027-04-01"},
            "extended": {"distro-info-data": "2032-04-21", "endoflife.date": "2032-04-09"},
        },
        "21.10": {"full": {"distro-info-data": "2022-07-14", "endoflife.date": "2022-07-14"}},
        "21.04": {"full": {"distro-info-data": "2022-01-20", "endoflife.date": "2022-01-20"}},
        "20.10": {"full": {"distro-info-data": "2021-07-22", "endoflife.date": "2021-07-22"}},
        "20.04": {
            "full": {"distro-info-data": "2025-05-29", "endoflife.date": "2025-05-31"},
            "extended": {"distro-info-data": "2030-04-23", "endoflife.date": "2030-04-02"},
        },
        "19.10": {"full": {"distro-info-data": "2020-07-17", "endoflife.date": "2020-07-06"}},
        "19.04": {"full": {"distro-info-data": "2020-01-23", "endoflife.date": "2020-01-23"}},
        "18.10": {"full": {"distro-info-data": "2019-07-18", "endoflife.date": "2019-07-18"}},
        "18.04": {
            "full": {"distro-info-data": "2023-05-31", "endoflife.date": "2023-05-31"},
            "extended": {"distro-info-data": "2028-04-26", "endoflife.date": "2028-04-01"},
        },
        "17.10": {"full": {"distro-info-data": "2018-07-19", "endoflife.date": "2018-07-19"}},
        "17.04": {"full": {"distro-info-data": "2018-01-13", "endoflife.date": "2018-01-13"}},
        "16.10": {"full": {"distro-info-data": "2017-07-20", "endoflife.date": "2017-07-20"}},
        "16.04": {
            "full": {"distro-info-data": "2021-04-30", "endoflife.date": "2021-04-02"},
            "extended": {"distro-info-data": "2026-04-23", "endoflife.date": "2026-04-02"},
        },
        "15.10": {"full": {"distro-info-data": "2016-07-28", "endoflife.date": "2016-07-28"}},
        "15.04": {"full": {"distro-info-data": "2016-02-04", "endoflife.date": "2016-02-04"}},
        "14.10": {"full": {"distro-info-data": "2015-07-23", "endoflife.date": "2015-07-23"}},
        "14.04": {
            "full": {"distro-info-data": "2019-04-25", "endoflife.date": "2019-04-02"},
            "extended": {"distro-info-data": "2024-04-25", "endoflife.date": "2024-04-02"},
        },
        "13.10": {"full": {"distro-info-data": "2014-07-17", "endoflife.date": "2014-07-17"}},
        "13.04": {"full": {"distro-info-data": "2014-01-27", "endoflife.date": "2014-01-27"}},
        "12.10": {"full": {"distro-info-data": "2014-05-16", "endoflife.date": "2014-05-16"}},
        "12.04": {
            "full": {"distro-info-data": "2017-04-28", "endoflife.date": "2017-04-28"},
            "extended": {"distro-info-data": "2019-04-26", "endoflife.date": "2019-04-26"},
        },
        "11.10": {"full": {"distro-info-data": "2013-05-09", "endoflife.date": "2013-05-09"}},
        "11.04": {"full": {"distro-info-data": "2012-10-28", "endoflife.date": "2012-10-28"}},
        "10.10": {"full": {"distro-info-data": "2012-04-10", "endoflife.date": "2012-04-10"}},
        "10.04": {"full": {"distro-info-data": "2015-04-30", "endoflife.date": "2013-05-09"}},
        "6.06": {"full": {"distro-info-data": "2011-06-01"}},
        "8.04": {"full": {"distro-info-data": "2013-05-09"}},
        "8.10": {"full": {"distro-info-data": "2010-04-30"}},
        "9.04": {"full": {"distro-info-data": "2010-10-23"}},
        "9.10": {"full": {"distro-info-data": "2011-04-30"}},
        "26.10": {"full": {"distro-info-data": "2027-07-15"}},
    },
    "rhel": {
        "10": {
            "full": {"endoflife.date": "2035-05-31"},
            "extended": {"endoflife.date": "2039-05-31"},
            "newest": "10.2",
        },
        "9": {"full": {"endoflife.date": "2032-05-31"}, "extended": {"endoflife.date": "2036-05-31"}, "newest": "9.8"},
        "8": {"full": {"endoflife.date": "2029-05-31"}, "extended": {"endoflife.date": "2033-05-31"}, "newest": "8.10"},
        "7": {"full": {"endoflife.date": "2024-06-30"}, "extended": {"endoflife.date": "2029-05-31"}, "newest": "7.9"},
        "6": {"full": {"endoflife.date": "2020-11-30"}, "extended": {"endoflife.date": "2024-06-30"}, "newest": "6.10"},
        "8.4": {"extended": {"access.redhat.com": "2023-05-18"}},
        "8.6": {"extended": {"access.redhat.com": "2024-05-10"}},
        "8.8": {"extended": {"access.redhat.com": "2025-05-16"}},
        "9.0": {"extended": {"access.redhat.com": "2024-05-18"}},
        "9.2": {"extended": {"access.redhat.com": "2025-05-10"}},
        "9.4": {"extended": {"access.redhat.com": "2026-04-30"}},
        "9.6": {"extended": {"access.redhat.com": "2027-05-20"}},
        "10.0": {"extended": {"access.redhat.com": "2027-05-20"}},
    },
    "rocky": {
        "10": {"full": {"endoflife.date": "2035-05-31"}, "newest": "10.2"},
        "9": {"full": {"endoflife.date": "2032-05-31"}, "newest": "9.8"},
        "8": {"full": {"endoflife.date": "2029-05-31"}, "newest": "8.10"},
    },
    "almalinux": {
        "10": {"full": {"endoflife.date": "2035-05-31"}, "newest": "10.2"},
        "9": {"full": {"endoflife.date": "2032-05-31"}, "newest": "9.8"},
        "8": {"full": {"endoflife.date": "2029-05-31"}, "newest": "8.10"},
    },
    "centos": {
        "8": {"full": {"endoflife.date": "2021-12-31"}},
        "7": {"full": {"endoflife.date": "2024-06-30"}},
        "6": {"full": {"endoflife.date": "2020-11-30"}},
    },
    "centos-stream": {
        "10": {"full": {"endoflife.date": "2030-05-31"}},
        "9": {"full": {"endoflife.date": "2027-05-31"}},
        "8": {"full": {"endoflife.date": "2024-05-31"}},
    },
    "ol": {
        "10": {"full": {"endoflife.date": None}, "newest": "10.1"},
        "9": {"full": {"endoflife.date": "2032-06-30"}, "extended": {"endoflife.date": "2035-06-30"}, "newest": "9.8"},
        "8": {"full": {"endoflife.date": "2029-07-31"}, "extended": {"endoflife.date": "2032-07-31"}, "newest": "8.10"},
        "7": {"full": {"endoflife.date": "2024-12-31"}, "extended": {"endoflife.date": "2028-06-30"}, "newest": "7.9"},
        "6": {"full": {"endoflife.date": "2021-03-31"}, "extended": {"endoflife.date": "2024-12-31"}, "newest": "6.10"},
    },
    "fedora": {
        "44": {"full": {"endoflife.date": "2027-06-02"}},
        "43": {"full": {"endoflife.date": "2026-12-09"}},
        "42": {"full": {"endoflife.date": "2026-05-27"}},
        "41": {"full": {"endoflife.date": "2025-12-15"}},
        "40": {"full": {"endoflife.date": "2025-05-13"}},
        "39": {"full": {"endoflife.date": "2024-11-26"}},
        "38": {"full": {"endoflife.date": "2024-05-21"}},
        "37": {"full": {"endoflife.date": "2023-12-05"}},
        "36": {"full": {"endoflife.date": "2023-05-16"}},
        "35": {"full": {"endoflife.date": "2022-12-13"}},
        "34": {"full": {"endoflife.date": "2022-06-07"}},
        "33": {"full": {"endoflife.date": "2021-11-30"}},
        "32": {"full": {"endoflife.date": "2021-05-25"}},
        "31": {"full": {"endoflife.date": "2020-11-24"}},
        "30": {"full": {"endoflife.date": "2020-05-26"}},
        "29": {"full": {"endoflife.date": "2019-11-26"}},
        "28": {"full": {"endoflife.date": "2019-05-28"}},
        "27": {"full": {"endoflife.date": "2018-11-30"}},
        "26": {"full": {"endoflife.date": "2018-05-29"}},
        "25": {"full": {"endoflife.date": "2017-12-12"}},
        "24": {"full": {"endoflife.date": "2017-08-08"}},
        "23": {"full": {"endoflife.date": "2016-12-20"}},
        "22": {"full": {"endoflife.date": "2016-07-19"}},
        "21": {"full": {"endoflife.date": "2015-12-01"}},
        "20": {"full": {"endoflife.date": "2015-06-23"}},
        "19": {"full": {"endoflife.date": "2015-01-06"}},
        "18": {"full": {"endoflife.date": "2014-01-14"}},
        "17": {"full": {"endoflife.date": "2013-07-30"}},
        "16": {"full": {"endoflife.date": "2013-02-12"}},
        "15": {"full": {"endoflife.date": "2012-06-26"}},
        "14": {"full": {"endoflife.date": "2011-12-09"}},
        "13": {"full": {"endoflife.date": "2011-06-24"}},
    },
    "sles": {
        "16.0": {"full": {"endoflife.date": "2027-11-30"}, "extended": {"endoflife.date": "2030-11-30"}},
        "15.7": {"full": {"endoflife.date": "2031-07-31"}, "extended": {"endoflife.date": "2034-07-31"}},
        "15.6": {"full": {"endoflife.date": "2025-12-31"}, "extended": {"endoflife.date": "2028-12-31"}},
        "15.5": {"full": {"endoflife.date": "2024-12-31"}, "extended": {"endoflife.date": "2027-12-31"}},
        "15.4": {"full": {"endoflife.date": "2023-12-31"}, "extended": {"endoflife.date": "2026-12-31"}},
        "15.3": {"full": {"endoflife.date": "2022-12-31"}, "extended": {"endoflife.date": "2025-12-31"}},
        "15.2": {"full": {"endoflife.date": "2021-12-31"}, "extended": {"endoflife.date": "2024-12-31"}},
        "12.5": {"full": {"endoflife.date": "2024-10-31"}, "extended": {"endoflife.date": "2027-10-31"}},
        "15.1": {"full": {"endoflife.date": "2021-01-31"}, "extended": {"endoflife.date": "2024-01-31"}},
        "12.4": {"full": {"endoflife.date": "2020-06-30"}, "extended": {"endoflife.date": "2023-06-30"}},
        "15.0": {"full": {"endoflife.date": "2019-12-31"}, "extended": {"endoflife.date": "2022-12-31"}},
        "12.3": {"full": {"endoflife.date": "2019-06-30"}, "extended": {"endoflife.date": "2022-06-30"}},
        "12.2": {"full": {"endoflife.date": "2018-03-31"}, "extended": {"endoflife.date": "2021-03-31"}},
        "12.1": {"full": {"endoflife.date": "2017-05-31"}, "extended": {"endoflife.date": "2020-05-31"}},
        "11.4": {"full": {"endoflife.date": "2019-03-31"}, "extended": {"endoflife.date": "2022-03-31"}},
        "12.0": {"full": {"endoflife.date": "2016-06-30"}, "extended": {"endoflife.date": "2019-07-01"}},
        "11.3": {"full": {"endoflife.date": "2016-01-31"}, "extended": {"endoflife.date": "2019-01-30"}},
        "11.2": {"full": {"endoflife.date": "2014-01-31"}, "extended": {"endoflife.date": "2017-01-30"}},
        "10.4": {"full": {"endoflife.date": "2013-07-31"}, "extended": {"endoflife.date": "2016-07-30"}},
        "11.1": {"full": {"endoflife.date": "2012-08-31"}, "extended": {"endoflife.date": "2015-08-30"}},
    },
    "opensuse": {
        "16.0": {"full": {"endoflife.date": "2027-10-31"}},
        "15.6": {"full": {"endoflife.date": "2026-04-30"}},
        "15.5": {"full": {"endoflife.date": "2024-12-31"}},
        "15.4": {"full": {"endoflife.date": "2023-12-07"}},
        "15.3": {"full": {"endoflife.date": "2022-12-31"}},
        "15.2": {"full": {"endoflife.date": "2022-01-04"}},
        "15.1": {"full": {"endoflife.date": "2021-02-02"}},
        "15.0": {"full": {"endoflife.date": "2019-12-03"}},
        "42.3": {"full": {"endoflife.date": "2019-07-01"}},
        "42.2": {"full": {"endoflife.date": "2018-01-26"}},
        "42.1": {"full": {"endoflife.date": "2017-05-17"}},
        "13.2": {"full": {"endoflife.date": "2017-01-17"}},
        "13.1": {"full": {"endoflife.date": "2016-02-03"}},
        "12.3": {"full": {"endoflife.date": "2015-01-29"}},
        "12.2": {"full": {"endoflife.date": "2014-01-15"}},
        "12.1": {"full": {"endoflife.date": "2013-05-15"}},
        "11.4": {"full": {"endoflife.date": "2012-11-05"}},
        "11.3": {"full": {"endoflife.date": "2012-01-20"}},
    },
    "amzn": {
        "2023": {"full": {"endoflife.date": "2029-06-30"}},
        "2": {"full": {"endoflife.date": "2026-06-30"}},
        "2018.03": {"full": {"endoflife.date": "2023-12-31"}},
        "2017.09": {"full": {"endoflife.date": "2023-12-31"}},
        "2017.03": {"full": {"endoflife.date": "2023-12-31"}},
        "2016.09": {"full": {"endoflife.date": "2023-12-31"}},
        "2016.03": {"full": {"endoflife.date": "2023-12-31"}},
        "2015.09": {"full": {"endoflife.date": "2023-12-31"}},
        "2015.03": {"full": {"endoflife.date": "2023-12-31"}},
        "2014.09": {"full": {"endoflife.date": "2023-12-31"}},
        "2014.03": {"full": {"endoflife.date": "2023-12-31"}},
        "2013.09": {"full": {"endoflife.date": "2023-12-31"}},
        "2013.03": {"full": {"endoflife.date": "2023-12-31"}},
        "2012.09": {"full": {"endoflife.date": "2023-12-31"}},
        "2012.03": {"full": {"endoflife.date": "2023-12-31"}},
        "2011.09": {"full": {"endoflife.date": "2023-12-31"}},
        "2010.11": {"full": {"endoflife.date": "2023-12-31"}},
    },
}
