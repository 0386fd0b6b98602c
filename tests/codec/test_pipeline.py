"""The whole codec: exact bytes of fixed files, pinned weights, and round trips of every kind of network."""

import hashlib
import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from test_sections import assert_same
from tiny_files import FILES, IMAGE, LARGE_FILES, RECORD, SHAPE, TinyFile

import sinr3d.codec
from sinr3d.codec import limits, quantizer
from sinr3d.codec.header import Domain
from sinr3d.codec.paper import paper_plans
from sinr3d.codec.pipeline import compress, decompress, pack_file, unpack_file
from sinr3d.codec.tensors import Code, CodedNetwork, DenseCode, DensePlan, Plan, SinrCode
from sinr3d.errors import CorruptFileError
from sinr3d.inr.mlp import build
from sinr3d.inr.spec import InrSpec, default_spec, tensor_shapes

EXACT = {
    "image dense range": (
        "89534e52010004010e0203010004010000f0410000f041df6a571302060105040308016b229175030e0100003c803cc0"
        "3c003d203d403d77cb3bd10420ab56fb623c9bb5a5a6748c62ffff3951126ebfa317d4cda12fdec9df6e713d3c512203"
        "d7"
    ),
    "image dense brotli": (
        "89534e52010004010e0203010004010000f0410000f041df6a571302060105040308016b229175030e0000003c803cc0"
        "3c003d203d403d012a344c0462021b5d00f82f0a6c77340b15c288b2f5a6e63df871eab6c19bebd2050b27d0f9147394"
        "c69146e77dcc638cbd6c7b18c691a4d000ad119672c24a0db4182b10f885b6becf086ac99b85fb92a43ed711dad64ebf"
        "4ea934e4fc4dbc2605425008018400b427fa51"
    ),
    "image dense brotli wide": (
        "89534e52010004010e0203010004010000f0410000f041df6a571302060105040308016b229175030e0000003c803cc0"
        "3c003d203d403d012a344c047f041bbb00108ed45e39b9605103048c389e18979fccf409608233c0523ec389aad29c76"
        "2b7975793a398483d0b79faf99d63c850c830d3888a2a3bfa6d1d391bbefadc2c0c65af8c4cdc7be5fd6b94af0bf9fdf"
        "a4d4c58336b9dce715993381ffffea1dde51b878d8afd2a994874c144fe761c037badfe4154001c944a72d02d9f024bc"
    ),
    "shape dense range record": (
        "89534e52010005010e0301010004010000f0410000f041e23e04ee021d02000000403333733f0000003f0000803e0000"
        "003ec001ff0120026d6dde5cd740030e0100003c803cc03c003d203d403d77cb3bd1041c336cfb62e2f13f6572dd3249"
        "986cf5ef9c5565c69ff014bd135b13eabb8f7e31800c010507ac020000fc410001004a119e37"
    ),
    "shape sparse range": (
        "89534e52010005010e0301010004010000f0410000f041e23e04ee021d02000000403333733f0000003f0000803e0000"
        "003ec001ff0120026d6dde5cd7400312010304003c803cc03bac0204003d203d403da26078670418336cfb62e2f13f65"
        "4d853a49a44a3994870849eb87595d1133a3860b0504928b5a71eabff089"
    ),
    "shape sparse brotli": (
        "89534e52010006010e0301010004010000f0410000f041e23e04ee021d02000000403333733f0000003f0000803e0000"
        "003ec001ff0120026d6dde5cd7400312000304003c803cc03bac0204003d203d403d43d62a880422010b0e800c030d0c"
        "030d0c020d0c020d0007100026154f810f08000f0e040b140a03e2ef1e77050c8b03800e0a25210000000003f75c6e30"
        "800c010507ac020000fc410001004a119e37"
    ),
    "gauss sparse range": (
        "89534e52010005010e020302000401000020410000a040c2c94bbb02060105040308016b2291750318010315003bac02"
        "02803cc03bac0204003d203cac0203403d72d30fb5041411d2a7f0af3d19a9039e5bb14efddb30da19dc53614c877a05"
        "08039502c1bd5c66dfc57dccbb"
    ),
    "wire sparse range": (
        "89534e52010005011202030300030100002041000020410000204164d0e1a302060105040308016b22917503240103cc"
        "00003c803cc03bac0202003cac0202203d403d603cac0202803cac0202903da03d43acd54a041cab56fb62ae4c015bcc"
        "d38e45222594962eb2c709e4eb1c85008a684131ef809c05082f2289c1d1db5cf46efd2f98"
    ),
    "relu sparse range": (
        "89534e52010005010e0203040203010000803f0000803fd5c906e402060105040308016b2291750312010304003c803c"
        "c03bac0202003d203d403d9855a80404247058fb628c033823ee257131a2c2e016fea7ae5e9ed67c1968066ab219b70f"
        "632213ff1f01ff61960504000089c1f447ad12"
    ),
    "no hidden layer": (
        "89534e52010004010e0203010003000000f0410000f041e565f0e602060105040308016b229175030a0100003c803cc0"
        "3c003dbf17d0170410ab56fb62fe39015ba1e3290d65fab61c0a97e4f1"
    ),
    "scene with tables": (
        "89534e52010106014703010304040004010000803f0000803f02010204000020400000a040020703010004000000f041"
        "0000f04100030301040003000000803f0000803f020201040000c03f00004040e7f2aa8702e201030700010002020000"
        "0080bf0000c0bf000000c00000803f0000c03f00000040000000400000c0400000803f0000803f0000803f0000803f02"
        "1008000000000000803f0000000000000000000080bf00000000000000000000000000000000000000000000803f0000"
        "003f0000803e281e00000e42000010420000a04100007041020000803f00000000000000000000003f00000000000080"
        "3f000000000000803e00000000000000000000803f000080400000803f00000000000000000000003f00000000000080"
        "3f000000000000803e00000000000000000000803f00008040a1018b2e032801000000003c803cc03c003d203d403d60"
        "3d803d903da03db03dc03dd03de03df03d003e083e103efdd0ca1404505e9d402edb2facae728d934b1c9fce2ce26164"
        "3378db5ab3ac27e6aa3a169ca9964fc01cdd336b22ff8f0c00bf2030535281180256c40c269bd0e718e6844bcbdb68fb"
        "4ada4a95b408bf269886002eb936d4fcc506e301bc01d777310dd6b943fc448494e4e7787d5596802046e61f978919ca"
        "f8f0ce72c4a502f695d43b8093f26712e0a1db86999667b18a068472363ecf4f0a33cd5616ede1af097a009fa759ba57"
        "e9725fae9ed86b34991c9e92bf04f3307c46d8588190548898162d3046a8d2b2a0791c4c6274964501bcdc1c62d5b663"
        "4fff714a7c3142724fa250a72e7809cde106ffa00bcb1cdbad7cb620fb857752d93836b21e57ba5520c29f43ae9eed47"
        "e6ec8c18f7b4b05cde157fdb3ebe8198dd1400277c56c852ce496a5c08ba4261ed3bee427e3a51ced1d8d2e8960c0920"
        "f2977dab53963cdf9d15a18109054c330e80083b7fcab0e0a339"
    ),
    "scene with tables brotli": (
        "89534e52010106014703010304040004010000803f0000803f02010204000020400000a040020703010004000000f041"
        "0000f04100030301040003000000803f0000803f020201040000c03f00004040e7f2aa8702e201030700010002020000"
        "0080bf0000c0bf000000c00000803f0000c03f00000040000000400000c0400000803f0000803f0000803f0000803f02"
        "1008000000000000803f0000000000000000000080bf00000000000000000000000000000000000000000000803f0000"
        "003f0000803e281e00000e42000010420000a04100007041020000803f00000000000000000000003f00000000000080"
        "3f000000000000803e00000000000000000000803f000080400000803f00000000000000000000003f00000000000080"
        "3f000000000000803e00000000000000000000803f00008040a1018b2e032800000000003c803cc03c003d203d403d60"
        "3d803d903da03db03dc03dd03de03df03d003e083e103eba428ebb044b011b7700f845c798255740291dd4e4f86f7b88"
        "2c2db74803a2444a000880e14d6042114a50b242da9fde9c08c961ed945b15bc3ad8ceb0ab44793188d2a1736bde83e9"
        "ca097f7f35effc1c5a4ea46906e301bc01d777310dd6b943fc448494e4e7787d5596802046e61f978919caf8f0ce72c4"
        "a502f695d43b8093f26712e0a1db86999667b18a068472363ecf4f0a33cd5616ede1af097a009fa759ba57e9725fae9e"
        "d86b34991c9e92bf04f3307c46d8588190548898162d3046a8d2b2a0791c4c6274964501bcdc1c62d5b6634fff714a7c"
        "3142724fa250a72e7809cde106ffa00bcb1cdbad7cb620fb857752d93836b21e57ba5520c29f43ae9eed47e6ec8c18f7"
        "b4b05cde157fdb3ebe8198dd1400277c56c852ce496a5c08ba4261ed3bee427e3a51ced1d8d2e8960c0920f2977dab53"
        "963cdf9d15a1800c010507ac020000fc410001004a119e37"
    ),
    "scene without tables": (
        "89534e52010106012102010303010005010000f0410000f04100020203020004010000004000004040000c98fd6d023a"
        "0300020000010001000080bf000080bf000080bf0000803f0000803f0000803fcdcc4c3d00007a440000803f0000803f"
        "0000803f0000803f01302db6dd02032201030401003c803cc03bac0206003d203d403d603d803d903cac0204a03db03d"
        "c03d93ef79d1043c336cfb6266f33f65eee9c4b16d7844ef333014febee4dbc7722f274de5096670d6c9d2e28e4b323c"
        "d5a6fc36ac31c053c17d6600431514caa64d1f3ae58584ac05084ce82b2b4b6405380325c27d811d0900300fc9fbf296"
        "0706a5d9e1b583c24fe1d096ee71449f780074b143da114f51"
    ),
    "shape laws": (
        "89534e52010204010e0301010004020000f0410000f041021d02000000403333733f0000003f0000803e0000003ec001"
        "ff0120026d6d0313020000003c803cc03c003d203d403d603d803d043006504728ed7aae244b6980c1d915606b16568e"
        "f1beff1474b11bb1ba8cd40184fd5f2e05854cadbc6df61cf6d7a88cae0d62fec9"
    ),
    "image over a seeded basis": (
        "89534e52010205010e0203010004010000f0410000f0410206010504030801031202031000003c803cc03b0404003d20"
        "3d403d04209449430860444da64938e293f2bd865c249d103dddcea13221e6677b86bd108b0500f46f591b"
    ),
    "image sparse laws wide": (
        "89534e52010205010e0203010004010000f0410000f0410206010504030801031302031000003c803cc03bac0204003d"
        "203d403d045825e99154f2694c597a906de805a22f2fc32f1b75fc4610df3056f89da01cd56fdd58c0d7d376d1aebaee"
        "e150a6dc64b310da242dde48403f1682e6cf50754fcd9c38f1703dd95be2a352df06e5b2480d2c55d9218819f4830504"
        "928b5a71afebe032"
    ),
    "scene laws": (
        "89534e52010306014703010304040004010000803f0000803f02010204000020400000a040020703010004000000f041"
        "0000f04100030301040003000000803f0000803f020201040000c03f0000404002e2010307000100020200000080bf00"
        "00c0bf000000c00000803f0000c03f00000040000000400000c0400000803f0000803f0000803f0000803f0210080000"
        "00000000803f0000000000000000000080bf00000000000000000000000000000000000000000000803f0000003f0000"
        "803e281e00000e42000010420000a04100007041020000803f00000000000000000000003f000000000000803f000000"
        "000000803e00000000000000000000803f000080400000803f00000000000000000000003f000000000000803f000000"
        "000000803e00000000000000000000803f00008040032a020020200002003c803cc03c003d203d403d603d803d903da0"
        "3db03dc03dd03de03df03d003e083e103e045cdabb810866e090e1fefe9711195efba0826f7dd32cfce37cfd79fd0602"
        "1a4d90ffc004e4cbb5866204aec8379d5073e151521d611cf7514cc25f563c441d12aab4f22387e8bce730410082a10c"
        "00a51a059fcc6bcc06f23137e61ef606e301bc01d777310dd6b943fc448494e4e7787d5596802046e61f978919caf8f0"
        "ce72c4a502f695d43b8093f26712e0a1db86999667b18a068472363ecf4f0a33cd5616ede1af097a009fa759ba57e972"
        "5fae9ed86b34991c9e92bf04f3307c46d8588190548898162d3046a8d2b2a0791c4c6274964501bcdc1c62d5b6634fff"
        "714a7c3142724fa250a72e7809cde106ffa00bcb1cdbad7cb620fb857752d93836b21e57ba5520c29f43ae9eed47e6ec"
        "8c18f7b4b05cde157fdb3ebe8198dd1400277c56c852ce496a5c08ba4261ed3bee427e3a51ced1d8d2e8960c0920f297"
        "7dab53963c8109054c330e80083b7fcae14f1fcc"
    ),
    "image trellis": (
        "89534e52010205010e0203010005010000f0410000f0410206010504030801031302032102003bac0202803cc03c003d"
        "203d403d042ccd07da2bf66484996dcd1afbd8461ee4e1cc8ca87c5b83168ca726058cf359e955e4a9b5a990d02d8fc9"
        "b0c10504004002c166cb996f"
    ),
    "shape in layers": (
        "89534e52010605030c0c08010e0301010005020000f0410000f041021d02000000403333733f0000003f0000803e0000"
        "003ec001ff0120026d6d0313020000003c803cc03c003d203d403d603d803d0424b0d94428c5f89bc0375b23d4e52103"
        "51469c9765018ca8578591fdbe323b05fab7cda612800c010507ac020000fc41000100ed1806a219fa55aa63bfd1c91c"
        "ed834a4df3bdb0ffddfcaf675611ca4964ad4687b8d4f328dbdcc937b20dfefdf5f63d"
    ),
    "scene in layers": (
        "89534e520107070118014703010304040004010000803f0000803f02010204000020400000a040020703010004000000"
        "f0410000f04100030301040003000000803f0000803f020201040000c03f0000404002e2010307000100020200000080"
        "bf0000c0bf000000c00000803f0000c03f00000040000000400000c0400000803f0000803f0000803f0000803f021008"
        "000000000000803f0000000000000000000080bf00000000000000000000000000000000000000000000803f0000003f"
        "0000803e281e00000e42000010420000a04100007041020000803f00000000000000000000003f000000000000803f00"
        "0000000000803e00000000000000000000803f000080400000803f00000000000000000000003f000000000000803f00"
        "0000000000803e00000000000000000000803f00008040032e02030001000000003c803cc03c003d203cac0204403d60"
        "3d803d903da03db03dc03dd03de03df03d003e083e103e0440bda780085f9ec537af3e6e9e41c3079abf59ef67642442"
        "b616116296ae16894e587aa3141b7457f967b963a8776a6639530b3a7fa569f31ca2ce737f3d1603620504485d86c306"
        "e301bc01d777310dd6b943fc448494e4e7787d5596802046e61f978919caf8f0ce72c4a502f695d43b8093f26712e0a1"
        "db86999667b18a068472363ecf4f0a33cd5616ede1af097a009fa759ba57e9725fae9ed86b34991c9e92bf04f3307c46"
        "d8588190548898162d3046a8d2b2a0791c4c6274964501bcdc1c62d5b6634fff714a7c3142724fa250a72e7809cde106"
        "ffa00bcb1cdbad7cb620fb857752d93836b21e57ba5520c29f43ae9eed47e6ec8c18f7b4b05cde157fdb3ebe8198dd14"
        "00277c56c852ce496a5c08ba4261ed3bee427e3a51ced1d8d2e8960c0920f2977dab53963c8109054c330e80083b7fca"
        "3714732e8dd4faffeca359b1d22e13d6fb896914eeb07520b1998ddf9389941e"
    ),
    "image trellis in layers": (
        "89534e52010604020c04010e0203010004010000f0410000f0410206010504030801030f022000003c803cc03c003d20"
        "3d403d041cc7394108e1718bf86d9e326421da2e9db35e1a19c3b49247a3898e6c9c777ec7bdd83eee79050c540861e8"
        "f80d74bec50056559212d6ded4"
    ),
    "image half": (
        "89534e52010204010e0203010003000000f0410000f0410206010504030801030202ff042a002a00a400ab002a00a400"
        "ab000000ac003000aa8033002a00aa8033803000aa8033803000b4003000006285cd74"
    ),
    "shape half in layers": (
        "89534e520106050104010e0301010004010000f0410000f041021d02000000403333733f0000003f0000803e0000003e"
        "c001ff0120026d6d030d0203dc0c003cc03bac0204203d0422000000ac0030000000b40030000000b48033ed7544286b"
        "a67d9020f9bbf5fd6ed7a00504928b5a71347e4b96eaffb6931881e1b9"
    ),
    "image with tables": (
        "89534e52011205011a0203040003000000803f0000803f020102040000c03f000040400206010504030801030d023000"
        "003c803c003d203d403d042800aa8033002a00aa8033803000aa8033803080ac80338030123f01089272561c17586036"
        "19c4448d06cb01b4012078310de8dbd70f701f3f5b2e3618cb0b766c4834d2ab41a102ec9362e477c646af8821743d9c"
        "335b25c4bc52aa3d4fb2bea63c739c48d174a7573977a900c75c404ddb43f54644a61c6b9e4c2f54acd1130593f0c488"
        "392fad2462a2af89399bf97ad17b32d2bf141c0250c78b5a5cac02e570c769d06a84bb5735fff06d5e77981b30489af5"
        "19d5dbf31af206efb57c2879c25e59fa147d4d6ed85ce137ee8f74e9318d7dd47fef2ee9c86b0cb776dbcd9ccb002b19"
        "351fa047336ec8426ba71f550f7268b733d97f96a72d"
    ),
    "image with tables dense": (
        "89534e52011005011a0203040003000000803f0000803f020202040000c03f00004040b83fe11b02060105040308016b"
        "229175030e0100003c803cc03c003d203d403d77cb3bd104145e9d402edb2facaedf3f944bb5d0484f3e2f42fe236aec"
        "2306920178d777310dd6b943fc448494e4e7787d5596802046e61f978919caf8f0ce72c4a502f695d43b8093f26712e0"
        "a1db86999667b18a068472363ecf4f0a33cd5616ede1af097a009fa759ba57e9725fae9ed86b34991c9e92bf04f3307c"
        "46d8588190548898162d3046a8d2b2a0791c4c6274964501bcb80d60d500277c56c852ce496a5c08ba4261ed3bee427e"
        "3a51cdd1d8d2ed8bdda3"
    ),
    "shape with tables": (
        "89534e52011005011a0301040003000000803f0000803f020202040000c03f0000404072bf9a6c021d02000000403333"
        "733f0000003f0000803e0000003ec001ff0120026d6dde5cd740030e0000003c803cc03c003d203d403d012a344c0418"
        "011b1200f8c5eda2669f874a168082803062ccb8fcc6690751b1ab4306920178d777310dd6b943fc448494e4e7787d55"
        "96802046e61f978919caf8f0ce72c4a502f695d43b8093f26712e0a1db86999667b18a068472363ecf4f0a33cd5616ed"
        "e1af097a009fa759ba57e9725fae9ed86b34991c9e92bf04f3307c46d8588190548898162d3046a8d2b2a0791c4c6274"
        "964501bcb80d60d500277c56c852ce496a5c08ba4261ed3bee427e3a51cdd1d8d2ed8bdda3"
    ),
}
"""The bytes of each tiny file. A change here is a new version of the format."""

WEIGHTS = {
    "image dense range": "6ff762e8ba682c96",
    "image dense brotli": "107e4a0d80725450",
    "image dense brotli wide": "536ecd5a3bdc51d9",
    "shape dense range record": "585f25bec8cefbde",
    "shape sparse range": "189cf885b231c266",
    "shape sparse brotli": "189cf885b231c266",
    "gauss sparse range": "4c3b9fe2ba206315",
    "wire sparse range": "215bb114bb18158c",
    "relu sparse range": "db45f69937643982",
    "no hidden layer": "228cec2179e9a00c",
    "columns and rows": "4c20b17f026f4639",
    "columns, brotli": "d1f70e41cac1df83",
    "wide symbols": "df5172b6a6376985",
    "wire columns": "b6c9576d78fc742a",
    "relu wide": "4adaab4429cbb071",
    "as many outputs as neurons": "3034af14b686c1c5",
    "scene with tables": "2700127f127e5419",
    "scene with tables brotli": "2700127f127e5419",
    "scene without tables": "134c2e0a555ee396",
    "scene with wide symbols": "20861188dcf95e77",
    "scene with few symbols": "5050d4225c899e51",
    "shape laws": "e8bb0a1a36d1304b",
    "image sparse laws wide": "5f199b58bed201c0",
    "image over a seeded basis": "4a49438fdc45e89c",
    "scene laws": "135e5179f3edf519",
    "columns and rows, laws": "8bf7272e08904aa3",
    "seeded basis, laws": "eaca8e32c7ea0a6e",
    "wide symbols, laws": "2fc77475e956855a",
    "few symbols, laws": "be7e9e010ac96316",
    "image trellis": "9054b9a7c54ff25d",
    "trellis": "b7884f5eeea05e2a",
    "wide trellis": "a51e833960c6b016",
    "wire trellis": "6cd620bedfa034ae",
    "shape in layers": "bfad3106b9a7ef16",
    "scene in layers": "d0a2592086858d3c",
    "image trellis in layers": "ca501b80546a7fac",
    "layers": "548ef5b24891e7ea",
    "wide layers": "df5172b6a6376985",
    "layers of few symbols": "3ebea774e12cf679",
    "image half": "228cec2179e9a00c",
    "shape half in layers": "189cf885b231c266",
    "image with tables": "4c86d4de378f08f7",
    "image with tables dense": "4c86d4de378f08f7",
    "shape with tables": "067e706371159054",
}
"""SHA-256 of the decoded weights, little-endian float32 in the order of the tensors; its first 16 digits."""

LENGTHS_AND_CRCS = {
    "columns and rows": (1994, "ba4e1f078e416f76"),
    "wide symbols": (3745, "bab17265e9b828b6"),
    "wire columns": (2479, "0de2a2a4572a4ae0"),
    "relu wide": (805, "d537e58308e8ce98"),
    "as many outputs as neurons": (99, "b45e23857d40dabc"),
    "scene with wide symbols": (9333, "57d4558926e8e7f4"),
    "scene with few symbols": (1522, "464bf3d1191093be"),
    "columns and rows, laws": (1636, "1c490751aa499cd2"),
    "seeded basis, laws": (876, "21e9e7fee8204e74"),
    "wide symbols, laws": (4010, "012bc247bb7f6076"),
    "few symbols, laws": (346, "bbb159a5895ed13b"),
    "trellis": (1703, "2f4ad1b4580ab71f"),
    "wide trellis": (2254, "287e73abd4c51339"),
    "wire trellis": (368, "9db2f31b7d74af3a"),
    "columns, brotli": (1140, "ead185b0ca7dc17d"),
    "layers": (1584, "0aa5ff19eddb57c3"),
    "wide layers": (4097, "d8318fe0bfed2391"),
    "layers of few symbols": (662, "ed1b5be17f2ce61d"),
}
"""Bytes and SHA-256, first 16 digits, of the larger files."""

ALL = FILES + LARGE_FILES


def by_name(file: TinyFile) -> str:
    return file.name


def weights_digest(data: bytes) -> str:
    values = decompress(data).weights.values()
    return hashlib.sha256(b"".join(v.numpy().astype("<f4").tobytes() for v in values)).hexdigest()[:16]


# What Brotli writes may change with its release; what it reads does not.
@pytest.mark.parametrize("file", [file for file in FILES if file.coder != "brotli"], ids=by_name)
def test_exact_bytes(file: TinyFile) -> None:
    assert file.data().hex() == EXACT[file.name]


@pytest.mark.parametrize("file", [file for file in LARGE_FILES if file.coder != "brotli"], ids=by_name)
def test_exact_bytes_of_larger_files(file: TinyFile) -> None:
    data = file.data()
    assert (len(data), hashlib.sha256(data).hexdigest()[:16]) == LENGTHS_AND_CRCS[file.name]


@pytest.mark.parametrize("file", FILES, ids=by_name)
def test_stored_files_are_still_read(file: TinyFile) -> None:
    network, domain, record, grid = unpack_file(bytes.fromhex(EXACT[file.name]))
    assert_same(network, file.network())
    assert (domain, record) == (file.domain, file.record)
    wanted = file.grid()
    assert (grid is None) == (wanted is None)
    assert np.array_equal(grid, wanted) if grid is not None and wanted is not None else True


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("file", ALL, ids=by_name)
def test_decoded_weights_are_the_same_bits(file: TinyFile, threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert weights_digest(file.data()) == WEIGHTS[file.name]
    finally:
        torch.set_num_threads(before)


def test_the_example_in_the_format_text_is_this_file() -> None:
    text = (Path(sinr3d.codec.__path__[0]) / "FORMAT.md").read_text(encoding="utf-8")
    example = text[text.index("## 14.") :]
    rows = re.findall(r"^ {3,7}\d+  ((?:[0-9a-f]{2} )*[0-9a-f]{2})(?: |$)", example, re.MULTILINE)
    assert bytes.fromhex("".join(rows)) == FILES[4].data()
    hidden = decompress(FILES[4].data()).weights["hidden.0.weight"][0].numpy()
    assert " ".join(v.tobytes()[::-1].hex() for v in hidden) in example


ACTIVATIONS = ["sine", "gauss", "wire", "relu"]


def round_trip(spec: InrSpec, domain: Domain, plans: dict[str, Plan], coder: str) -> float:
    """Compresses a fresh network; the root mean square error of its weights, in parts of their own."""
    weights = build(spec, seed=1).weights()
    data = compress(weights, spec, domain, plans, coder=coder, seed=11, record=RECORD)
    contents = decompress(data)
    assert (contents.spec, contents.domain, contents.record) == (spec, domain, RECORD)
    assert [(k, v.shape, v.dtype) for k, v in contents.weights.items()] == [
        (t.name, t.shape, torch.float32) for t in tensor_shapes(spec)
    ]
    for name, plan in plans.items():
        if isinstance(plan, DensePlan):
            assert float((contents.weights[name] - weights[name]).abs().max()) <= plan.step / 2 * (1 + 1e-6)
    names = [t.name for t in tensor_shapes(spec) if t.role == "hidden"]
    squared = sum(float((contents.weights[n] - weights[n]).square().sum()) for n in names)
    return (squared / sum(float(weights[n].square().sum()) for n in names)) ** 0.5


@pytest.mark.parametrize("coder", ["range", "brotli", "laws"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("width", [3, 20, 64])
def test_dense_networks(activation: str, width: int, coder: str) -> None:
    spec = default_spec(2, 3, width, 2, activation)
    plans: dict[str, Plan] = {t.name: DensePlan(2.0**-11) for t in tensor_shapes(spec)}
    assert round_trip(spec, IMAGE, plans, coder) < 0.03


@pytest.mark.parametrize("coder", ["range", "brotli", "laws"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("width", [3, 20, 64])
def test_paper_networks(activation: str, width: int, coder: str) -> None:
    spec = default_spec(3, 1, width, 1, activation)
    plans = paper_plans(build(spec, seed=1).weights(), spec, num_atoms=1024)
    # 2 s < k1 atoms of 1024 leave 12 to 40 % of the norm of a random vector.
    assert 0 < round_trip(spec, SHAPE, plans, coder) < 0.5


def test_the_same_input_gives_the_same_bytes() -> None:
    spec = default_spec(2, 3, 12, 2)
    weights = build(spec, seed=3).weights()
    plans = paper_plans(weights, spec, num_atoms=512)
    assert compress(weights, spec, IMAGE, plans) == compress(weights, spec, IMAGE, plans)


def test_compress_changes_nothing_of_the_caller() -> None:
    spec = default_spec(2, 3, 8, 1)
    weights = build(spec).weights()
    copies = {name: value.clone() for name, value in weights.items()}
    plans = paper_plans(weights, spec, num_atoms=100)
    kept = dict(plans)
    compress(weights, spec, IMAGE, plans)
    assert plans == kept
    assert all(torch.equal(weights[name], copies[name]) for name in copies)


def test_a_network_of_another_kind_than_the_domain_is_refused() -> None:
    network = FILES[0].network()
    with pytest.raises(CorruptFileError, match="a shape needs 3 to 1"):
        decompress(pack_file(network, SHAPE, "range"))


def _zeros(spec: InrSpec) -> CodedNetwork:
    codes: dict[str, Code] = {
        t.name: DenseCode(np.zeros(t.shape, np.int32), 1.0) for t in tensor_shapes(spec)
    }
    return CodedNetwork(spec, codes)


def _costly(width: int, layers: int, sparsity: int, num_atoms: int) -> CodedNetwork:
    network = _zeros(InrSpec(3, 1, width, layers))
    for layer in range(layers):
        vectors = 1 if width < 50 else width
        support = np.tile(np.arange(sparsity), (vectors, 1))
        code = SinrCode(support, np.zeros(support.shape, np.int32), quantizer.MAX_STEP, num_atoms)
        network.codes[f"hidden.{layer}.weight"] = code
    return network


COSTLY = {
    "zeros": _zeros(InrSpec(3, 1, 145, 3)),
    "long vectors": _costly(49, 1, 1740, 65536),
    "many short vectors": _costly(50, 25, 2, 65536),
    "all that is free": _costly(64, 15, 30, 65536),
}


@pytest.mark.parametrize("name", COSTLY)
def test_the_costliest_small_files_are_read_within_a_second(name: str) -> None:
    network = COSTLY[name]
    data = pack_file(network, SHAPE, "range")
    start = time.process_time()
    read = decompress(data)
    assert time.process_time() - start < 1
    assert len(data) < 8000
    assert not any(bool(value.any()) for value in read.weights.values())


def test_the_largest_sums_are_finite() -> None:
    spec = InrSpec(3, 1, 49, 1)
    network = _costly(49, 1, 1740, 65536)
    code = network.codes["hidden.0.weight"]
    assert isinstance(code, SinrCode)
    symbols = np.full(code.symbols.shape, quantizer.MAX_SYMBOL, np.int32)
    network.codes["hidden.0.weight"] = SinrCode(code.support, symbols, quantizer.MAX_STEP, 65536)
    assert decompress(pack_file(network, SHAPE, "range")).weights["hidden.0.weight"].isfinite().all()
    assert limits.MAX_SPARSITY * quantizer.MAX_SYMBOL * 17715 < 2**53
    assert spec.num_weights < limits.FREE_VALUES
